"""Tensor parallelism: every matrix split over the ranks of one axis (Shoeybi et al. 2019).

    apply_tensor_parallel(model, mesh)         # after unpack_projections; the axis is "tensor"

Queries, keys, values, gate and up are split by output, so that a rank holds whole heads; the output
and down projections by input, and their partial sums are added over the ranks. The embedding and
the output projection are split by vocabulary. Between them every rank holds the same states. A
layer costs two all-reduces of (B, T, D) in the forward pass and two in the backward pass.

On torch's own `parallelize_module`; every parameter becomes a DTensor of the axis, the norms as
copies, so that all lie on one mesh whatever shards them further.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

from openqwen.core.errors import UserError
from openqwen.model.attention import Attention
from openqwen.model.backbone import Backbone
from openqwen.model.decoder import Decoder
from openqwen.model.scorer import Scorer
from openqwen.parallel.unpack import UnpackedLinear
from openqwen.parallel.vocabulary import serve_split_vocabularies

AXIS = "tensor"


def apply_tensor_parallel(model: Backbone, mesh: DeviceMesh) -> None:
    """Split the model over the mesh's tensor axis, in place; nothing where it has one rank.

    Args:
        model: unpacked, with the same weights on every rank; a decoder or a scorer.
        mesh: has an axis "tensor".

    Raises:
        UserError: if the number of ranks does not divide heads, key and value heads, the
            feed-forward width and the vocabulary.
        ValueError: if the projections are packed.
    """
    if AXIS not in (mesh.mesh_dim_names or ()) or mesh[AXIS].size() == 1:
        return
    axis = mesh[AXIS]
    _check_divides(model, axis.size())
    _parallelize(model, axis, {"embed_tokens": _row_parallel_embedding(), "norm": Replicated()})
    for layer in model.layers:
        _parallelize(layer, axis, _layer_plan())
        attention = layer.attention
        assert isinstance(attention, Attention), "a decoder layer has an attention"
        attention.num_heads //= axis.size()
        attention.num_kv_heads //= axis.size()
    if isinstance(model, Decoder):
        _parallelize(model, axis, {"lm_head": ColwiseParallel(output_layouts=Replicate())})
        model.tie_weights()
        serve_split_vocabularies()
    elif isinstance(model, Scorer):
        _parallelize(model, axis, {"score": Replicated()})
        model.read = partial(_read_score, model)  # type: ignore[method-assign]


class Replicated(ParallelStyle):
    """Every rank holds the whole module and works on the same input."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        leave: Any = self._leave  # its result takes the output's place, whatever the type says
        return distribute_module(module, device_mesh, self._copy, self._enter, leave)

    @staticmethod
    def _copy(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
        for parameter_name, parameter in module.named_parameters(recurse=False):
            copy = DTensor.from_local(parameter.detach(), mesh, [Replicate()], run_check=False)
            module.register_parameter(
                parameter_name, nn.Parameter(copy, requires_grad=parameter.requires_grad)
            )

    @staticmethod
    def _enter(module: nn.Module, inputs: tuple[Tensor, ...], mesh: DeviceMesh) -> Any:
        return DTensor.from_local(inputs[0], mesh, [Replicate()], run_check=False)

    @staticmethod
    def _leave(module: nn.Module, output: DTensor, mesh: DeviceMesh) -> Any:
        return output.to_local()


def _layer_plan() -> dict[str, ParallelStyle]:
    """Return how each module of a layer is split."""
    once = partial(  # the input is announced once, so its gradient is summed over ranks once
        PrepareModuleInput,
        input_layouts=Replicate(),
        desired_input_layouts=Replicate(),
        use_local_output=False,
    )
    return {
        "attention_norm": Replicated(),
        "attention.qkv": once(),
        "attention.qkv.q": ColwiseParallel(),
        "attention.qkv.k": ColwiseParallel(),
        "attention.qkv.v": ColwiseParallel(),
        "attention.out": RowwiseParallel(),
        "mlp_norm": Replicated(),
        "mlp.gate_up": once(),
        "mlp.gate_up.gate": ColwiseParallel(),
        "mlp.gate_up.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(),
    }


def _row_parallel_embedding() -> ParallelStyle:
    return RowwiseParallel(input_layouts=Replicate(), output_layouts=Replicate())


def _parallelize(module: nn.Module, axis: DeviceMesh, plan: dict[str, ParallelStyle]) -> None:
    # no source rank: each cuts its part of the weights that all have, without communication
    parallelize_module(module, axis, plan, src_data_rank=None)


def _read_score(model: Scorer, hidden: Tensor) -> Tensor:
    """Return the score of each state with a head that is a copy on every rank."""
    weight = model.score.weight
    assert isinstance(weight, DTensor), "the head is replicated over the tensor axis"
    return hidden.float() @ weight.to_local()[0].float()


def _check_divides(model: Backbone, count: int) -> None:
    config = model.config
    for name, size in (
        ("num_attention_heads", config.num_attention_heads),
        ("num_key_value_heads", config.num_key_value_heads),
        ("intermediate_size", config.intermediate_size),
        ("vocab_size", config.vocab_size),
    ):
        if size % count:
            raise UserError(
                f"parallel.tensor = {count} does not divide {name} = {size}; "
                "set parallel.tensor to a divisor"
            )
    for layer in model.layers:
        attention = layer.attention
        assert isinstance(attention, Attention), "a decoder layer has an attention"
        if not isinstance(attention.qkv, UnpackedLinear):
            raise ValueError("tensor parallelism needs unpacked projections: unpack_projections")
