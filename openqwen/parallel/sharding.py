"""Parameters, gradients and optimiser state shared out over ranks: PyTorch's FSDP2.

    root = apply_sharding(model, mesh, compute_dtype=torch.bfloat16)
    loss, found = root(loss_of, micro_batch)        # gathers layer by layer as it goes
    loss.backward()                           # leaves each rank its shard of the summed gradient

Each layer is gathered just before it runs, in the compute type, and dropped after it; embedding,
final norm and output projection stay together in the root. Gradients are summed in float32.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from openqwen.model.backbone import Backbone
from openqwen.parallel.mesh import sharding_mesh

Result = TypeVar("Result")


class Root(nn.Module):
    """Holds a model and runs any function that uses it, so that FSDP's hooks surround the whole."""

    def __init__(self, model: nn.Module) -> None:
        """Take the model."""
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Result], *items: Any) -> Result:
        """Return `function` of the items; parameters outside the layers are whole meanwhile."""
        return function(*items)


def apply_sharding(model: Backbone, mesh: DeviceMesh, *, compute_dtype: torch.dtype) -> Root:
    """Shard a float32 model in place and return the module to run it in.

    Args:
        model: after every other change; its parameters become DTensors of float32.
        mesh: of `open_mesh`.
        compute_dtype: of the gathered parameters; float32 leaves all as it is.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=compute_dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # rotation tables and advantages stay float32
    )
    shards = sharding_mesh(mesh)
    for layer in model.layers:
        fully_shard(layer, mesh=shards, mp_policy=policy)
    root = Root(model)
    fully_shard(root, mesh=shards, mp_policy=policy)
    for module in root.modules():
        if isinstance(module, FSDPModule):  # the loss is a share of the whole: sum, never average
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return root


def reshard(root: Root) -> None:
    """Drop what a pass without a backward pass left gathered."""
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
