"""Weight-only int8 and int4, applied to a finished model from outside.

    quantise(model, "int4")            # in place; embeddings and norms stay as they are

A matrix keeps whole numbers and one float16 scale for each row and group of columns, without zero
points: 8.125 bits a weight for int8 (groups of 128), 4.5 for int4 (groups of 32). int4 rounds the
feed-forward network to 4 bits; attention and the output projection, a small part of a large model
and the sensitive one, stay int8 (docs/generation.md says what was tried). Nothing is calibrated. On
the CPU, C++ kernels multiply with activations rounded to int8 in the same groups; elsewhere, and
without a compiler, the matrix is worked out again for each product: right, but no faster than no
quantisation.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from openqwen.infer.kernels.ops import TYPES, Matrix, Packed, kernels_are_open, linear
from openqwen.model.attention import Attention
from openqwen.model.decoder import Decoder
from openqwen.model.layers import RMSNorm, SwiGLU

Kind = Literal["int8", "int4"]
KINDS: tuple[Kind, ...] = ("int8", "int4")
# how each kind rounds, for people and as part of the name under which converted weights are kept
SCHEME: dict[Kind, str] = {
    "int8": "8 bits in groups of 128",
    "int4": "4 bits in groups of 32 in the feed-forward network, 8 bits in groups of 128 elsewhere",
}
PANEL = 32
GROUPS = {8: (128, 64, 32, 16), 4: (32, 16)}  # the first that divides the columns
SMALLEST_SCALE = 2.0**-24  # of float16


class QuantisedLinear(nn.Module):
    """A linear layer whose weight is a `Packed` matrix; takes its neighbours' work along."""

    def __init__(self, packed: Packed, bias: Tensor | None) -> None:
        """Wrap a packed matrix; the bias is kept in float32."""
        super().__init__()
        self.bits, self.group = packed.bits, packed.group
        self.in_features, self.out_features = packed.columns, packed.rows
        self.register_buffer("values", packed.values)
        self.register_buffer("scales", packed.scales)
        self.register_buffer("bias", None if bias is None else bias.detach().float())
        self.values: Tensor
        self.scales: Tensor
        self.bias: Tensor | None
        self._matrix: Matrix | None = None
        self._described: Tensor | None = None  # what `_matrix` was made of

    @property
    def packed(self) -> Packed:
        """Return the matrix's own numbers."""
        return Packed(
            self.bits, self.group, self.out_features, self.in_features, self.values, self.scales
        )

    @property
    def matrix(self) -> Matrix:
        """Return the matrix as the kernels take it; described anew where its tensors are others."""
        if self._matrix is None or self._described is not self.values:
            self._described = self.values
            self._matrix = Matrix(self.packed, self.bias)
        return self._matrix

    def forward(
        self,
        x: Tensor,
        *,
        norm: RMSNorm | None = None,
        gated: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Return prologue(x) · Wᵀ + bias + residual, (..., N); see `kernels.ops.linear`."""
        if x.device.type == "cpu" and x.dtype in TYPES and kernels_are_open():
            return linear(x.contiguous(), self.matrix, norm=norm, gated=gated, residual=residual)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        weight = unpack(self.packed).to(x.dtype)
        return plain_projection(x, weight, bias, norm=norm, gated=gated, residual=residual)


def plain_projection(
    x: Tensor,
    weight_NK: Tensor,
    bias: Tensor | None,
    *,
    norm: RMSNorm | None,
    gated: bool,
    residual: Tensor | None,
) -> Tensor:
    """Return prologue(x) · Wᵀ + bias + residual by torch's own operations."""
    if norm is not None:
        x = norm(x)
    if gated:
        gate, up = x.chunk(2, dim=-1)
        x = functional.silu(gate) * up
    y = functional.linear(x, weight_NK, bias)
    return y if residual is None else y + residual


def quantise(model: Decoder, kind: Kind) -> None:
    """Replace every projection of a model by its quantised form; what has odd sizes stays.

    Args:
        model: on any device, in evaluation mode; a tied embedding stays as it is beside the
            quantised output projection.
        kind: "int8" or "int4".

    Raises:
        ValueError: if the kind is another.
    """
    if kind not in KINDS:
        raise ValueError(f"quantise to int8 or int4, not {kind!r}")
    for parent in [m for m in model.modules() if isinstance(m, Attention | SwiGLU)]:
        bits = 4 if kind == "int4" and isinstance(parent, SwiGLU) else 8
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, quantised(child, bits))
    model.lm_head = quantised(model.lm_head, 8)  # type: ignore[assignment]


def quantised(layer: nn.Linear, bits: int) -> nn.Module:
    """Return a layer's quantised form, or itself where no group size divides its columns."""
    group = next((g for g in GROUPS[bits] if layer.in_features % g == 0), None)
    if group is None:
        return layer
    return QuantisedLinear(pack(layer.weight.detach(), bits, group), layer.bias)


@torch.no_grad()
def pack(weight_NK: Tensor, bits: int, group: int) -> Packed:
    """Round a matrix to `bits` with one scale a row and group of columns.

    The scale puts the number of largest magnitude on the end of the range: ±127 for 8 bits, −8 for
    4 bits, whose range has one more step on that side.
    """
    n, k = weight_NK.shape
    whole = -(-n // PANEL) * PANEL
    x_NGK = functional.pad(weight_NK.float(), (0, 0, 0, whole - n)).view(whole, k // group, group)
    if bits == 8:
        scales = x_NGK.abs().amax(-1) / 127
    else:
        largest = x_NGK.gather(-1, x_NGK.abs().argmax(-1, keepdim=True))[..., 0]
        scales = largest / -8
    return assemble(x_NGK, scales.to(torch.float16), bits, rows=n)


def assemble(x_NGK: Tensor, scales_NG: Tensor, bits: int, *, rows: int) -> Packed:
    """Return rows of grouped numbers, divided by their float16 scales and rounded, in panels."""
    whole, groups, group = x_NGK.shape
    k = groups * group
    zero = scales_NG.abs() < SMALLEST_SCALE
    scales_NG = torch.where(zero, SMALLEST_SCALE, scales_NG.float()).to(torch.float16)
    low, high = (-127, 127) if bits == 8 else (-8, 7)
    q = (x_NGK / scales_NG.float()[..., None]).round_().clamp_(low, high)
    q = (q + (128 if bits == 8 else 8)).to(torch.uint8)
    if bits == 8:
        values = q.view(whole // PANEL, PANEL, k // 4, 4).transpose(1, 2)
    else:
        eights = q.view(whole // PANEL, PANEL, k // 8, 2, 4)
        values = (eights[:, :, :, 0] | (eights[:, :, :, 1] << 4)).transpose(1, 2)
    scales = scales_NG.view(whole // PANEL, PANEL, groups).transpose(1, 2)
    return Packed(bits, group, rows, k, values.contiguous(), scales.contiguous())


def unpack(packed: Packed) -> Tensor:
    """Return a packed matrix's numbers, float32 (N, K)."""
    k, groups = packed.columns, packed.columns // packed.group
    values = packed.values.transpose(1, 2)  # (panels, 32, K/4 or K/8, 4)
    if packed.bits == 4:
        values = torch.stack([values & 15, values >> 4], dim=-2)
    whole = values.shape[0] * PANEL
    q_NGK = values.reshape(whole, groups, packed.group).float() - (128 if packed.bits == 8 else 8)
    scales_NG = packed.scales.transpose(1, 2).reshape(whole, groups)
    return (q_NGK * scales_NG.float()[..., None]).view(whole, k)[: packed.rows]
