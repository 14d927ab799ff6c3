"""A plain model made parallel, from outside: the order in which each change is applied.

    mesh = open_mesh(config, device)
    root = parallelize(model, mesh, config, compute_dtype=torch.bfloat16)

Tensor parallel splits matrices, context parallel changes what attention sees, recompute and compile
wrap whole layers, FSDP2 shards what then is a layer.
"""

import torch
from torch.distributed.device_mesh import DeviceMesh

from openqwen.model.backbone import Backbone
from openqwen.parallel.compiling import apply_compile
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.context import apply_context_parallel
from openqwen.parallel.recompute import apply_recompute
from openqwen.parallel.sharding import Root, apply_sharding
from openqwen.parallel.tensor import apply_tensor_parallel
from openqwen.parallel.unpack import unpack_projections


def parallelize(
    model: Backbone, mesh: DeviceMesh, config: ParallelConfig, *, compute_dtype: torch.dtype
) -> Root:
    """Change a float32 model in place and return the module to run it in.

    Args:
        model: a decoder or scorer, equal on every rank.
        mesh: of `open_mesh`, for the same settings.
        config: the settings.
        compute_dtype: of forward and backward passes; the parameters themselves stay float32.
    """
    unpack_projections(model)
    apply_tensor_parallel(model, mesh)
    apply_context_parallel(model, mesh, config)
    apply_recompute(model, config.recompute)
    if config.compile:
        apply_compile(model)
    return apply_sharding(model, mesh, compute_dtype=compute_dtype)
