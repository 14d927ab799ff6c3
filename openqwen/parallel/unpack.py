"""One linear layer a projection instead of packed ones: the published names, and parts to shard.

    unpack_projections(model)      # attention.qkv -> q, k, v; mlp.gate_up -> gate, up

On one device one packed product is faster. Sharded, each part is split by itself, and each
parameter has its own name in Qwen2's published layout.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from openqwen.model.attention import Attention
from openqwen.model.backbone import Backbone
from openqwen.model.formats.parts import Part
from openqwen.model.layers import SwiGLU


class UnpackedLinear(nn.Module):
    """Linear layers of one input, in order; their outputs stand side by side."""

    def __init__(self, packed: nn.Linear, sizes: Mapping[str, int]) -> None:
        """Take copies of the rows of `packed`, `sizes[name]` rows for the child `name`.

        Raises:
            ValueError: if the sizes do not add up to the rows.
        """
        super().__init__()
        if sum(sizes.values()) != packed.out_features:
            raise ValueError(f"{dict(sizes)} are not the {packed.out_features} rows to unpack")
        start = 0
        for name, size in sizes.items():
            self.add_module(name, _rows_of(packed, slice(start, start + size)))
            start += size

    def forward(self, x: Tensor) -> Tensor:
        """Return every child's output, one after the other on the last axis."""
        return torch.cat([linear(x) for linear in self.children()], dim=-1)


def unpack_projections(model: Backbone) -> None:
    """Replace every layer's packed projections by one linear layer a part; outputs stay the same.

    Layers that are unpacked already are left as they are.

    Raises:
        ValueError: if a packed projection is not a plain linear layer (but an adapter, say).
    """
    for layer in model.layers:
        attention, mlp = layer.attention, layer.mlp
        assert isinstance(attention, Attention), "a decoder layer has an attention"
        assert isinstance(mlp, SwiGLU), "a decoder layer has a feed-forward network"
        q_size = attention.num_heads * attention.head_dim
        kv_size = attention.num_kv_heads * attention.head_dim
        _unpack(attention, "qkv", {"q": q_size, "k": kv_size, "v": kv_size})
        width = mlp.down.in_features
        _unpack(mlp, "gate_up", {"gate": width, "up": width})


def _unpack(holder: nn.Module, name: str, sizes: Mapping[str, int]) -> None:
    packed = getattr(holder, name)
    if isinstance(packed, UnpackedLinear):
        return
    if type(packed) is not nn.Linear:
        raise ValueError(f"{name} is a {type(packed).__name__}: only plain linear layers unpack")
    setattr(holder, name, UnpackedLinear(packed, sizes))


@torch.no_grad()
def _rows_of(packed: nn.Linear, rows: slice) -> nn.Linear:
    """Return a linear layer with some rows of another; nothing is drawn, on meta nothing held."""
    weight, bias = packed.weight, packed.bias
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], rows.stop - rows.start, bias=bias is not None)
    linear.weight = nn.Parameter(weight[rows].clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        linear.bias = nn.Parameter(bias[rows].clone(), requires_grad=bias.requires_grad)
    return linear


def published_names(parts: Mapping[str, Part]) -> dict[str, str]:
    """Return unpacked parameter -> published name, of `qwen2_parts` or `scorer_parts`."""
    names = {}
    for published, part in parts.items():
        parameter = part.parameter
        holder, _, kind = parameter.rpartition(".")
        if holder.endswith((".qkv", ".gate_up")):
            child = published.split(".")[-2].removesuffix("_proj")
            parameter = f"{holder}.{child}.{kind}"
        names[parameter] = published
    return names
