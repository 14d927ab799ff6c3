"""A decoder's layers for inference on the CPU: few calls of C++ a layer instead of many of torch.

    fuse(model)            # in place; does nothing where there are no kernels

A layer keeps its parts and their names; only what runs between them changes. Numbers differ from
the plain layers by rounding: what bf16 would round between norm, gate and product stays float32.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from openqwen.infer.adapters import AdaptedLinear, Adapters
from openqwen.infer.kernels import ops
from openqwen.infer.quantise import QuantisedLinear, plain_projection
from openqwen.model.attention import Placement, SequenceCache, Slots
from openqwen.model.backbone import DecoderLayer, LayerStack
from openqwen.model.decoder import Decoder
from openqwen.model.layers import Dropout, RMSNorm

KEPT_MATRIX = "kernel_matrix"  # where a layer keeps what the kernels know of it


def fuse(model: Decoder) -> bool:
    """Put the fused layers in a model's place where they can run; return whether they do.

    They need the CPU, the kernels, bf16 or quantised weights and heads of a size that they know.
    """
    kind = model.embed_tokens.weight.dtype
    is_quantised = isinstance(model.lm_head, QuantisedLinear)
    able = (
        model.embed_tokens.weight.device.type == "cpu"
        and model.config.head_dim in ops.HEAD_SIZES
        and (is_quantised or kind == torch.bfloat16)
        and kind in ops.TYPES
        and (ops.kernels_are_open() if is_quantised else ops.bf16_kernels_are_open())
    )
    if able:
        model.layers = FusedStack(model.layers)
        if not is_quantised:
            model.lm_head = FusedHead(model.lm_head)  # type: ignore[assignment]
    return able


class FusedLayer(nn.Module):
    """A `DecoderLayer` with norms, rotation, gate and residuals inside its neighbours."""

    def __init__(self, layer: DecoderLayer) -> None:
        """Take over a layer's parts."""
        super().__init__()
        self.attention_norm, self.attention = layer.attention_norm, layer.attention
        self.mlp_norm, self.mlp = layer.mlp_norm, layer.mlp

    def forward(
        self,
        x_BTD: Tensor,
        placement: Placement,
        *,
        window: int | None = None,
        cache: SequenceCache | None = None,
        layer: int = 0,
        dropout: Dropout | None = None,
    ) -> Tensor:
        """Return the residual stream after this layer."""
        assert dropout is None, "fused layers are for inference"
        qkv_BTN = project(self.attention.qkv, x_BTD, norm=self.attention_norm)
        y_BTD = self._mix(qkv_BTN, placement, window, cache, layer)
        x_BTD = project(self.attention.out, y_BTD, residual=x_BTD)
        gate_up_BTF = project(self.mlp.gate_up, x_BTD, norm=self.mlp_norm)
        return project(self.mlp.down, gate_up_BTF, gated=True, residual=x_BTD)

    def parts(self) -> ops.LayerParts | None:
        """Return the layer as the kernels take it; None where a matrix is not theirs."""
        projections = self.attention.qkv, self.attention.out, self.mlp.gate_up, self.mlp.down
        matrices = [matrix for layer in projections if (matrix := matrix_of(layer)) is not None]
        if len(matrices) < len(projections):
            return None
        qkv, out, gate_up, down = matrices
        return ops.LayerParts(qkv, out, gate_up, down, self.attention_norm, self.mlp_norm)

    def _mix(
        self,
        qkv_BTN: Tensor,
        placement: Placement,
        window: int | None,
        cache: SequenceCache | None,
        layer: int,
    ) -> Tensor:
        heads, kv_heads = self.attention.num_heads, self.attention.num_kv_heads
        batch, length, _ = qkv_BTN.shape
        tables = placement.cos_BT1P, placement.sin_BT1P, placement.scale_BT11
        slots = None
        if length == 1 and cache is not None:
            slots = cache.slots(layer, qkv_BTN, window=window)
        if slots is not None:
            y_BN = ops.decode(qkv_BTN[:, 0], heads, kv_heads, *tables, slots)
            return y_BN[:, None]
        q_BHTE, k_BKTE = ops.rotate(qkv_BTN, heads, kv_heads, *tables)
        v_BKTE = qkv_BTN.view(batch, length, heads + 2 * kv_heads, -1)[:, :, heads + kv_heads :]
        v_BKTE = v_BKTE.transpose(1, 2)
        if cache is not None:
            y_BHTE = cache.attend(layer, q_BHTE, k_BKTE, v_BKTE, window=window, by=ops.attend)
        elif placement.seen_B1TS is not None:
            y_BHTE = functional.scaled_dot_product_attention(
                q_BHTE,
                k_BKTE,
                v_BKTE,
                attn_mask=placement.seen_B1TS,
                enable_gqa=heads != kv_heads,
            )
        else:
            y_BHTE = ops.attend(q_BHTE, k_BKTE, v_BKTE, starts=placement.starts, window=window)
        return y_BHTE.transpose(1, 2).reshape(batch, length, -1)


class FusedStack(LayerStack):
    """All layers: a single call of C++ where each row has one new token.

    Attributes:
        takes_rows: whether a step's rows may be many, as with quantised weights.
    """

    def __init__(self, layers: LayerStack) -> None:
        """Take over the layers' parts."""
        super().__init__(FusedLayer(cast(DecoderLayer, layer)) for layer in layers)
        own = [cast(FusedLayer, layer) for layer in self]
        parts = [part for layer in own if (part := layer.parts()) is not None]
        self.adapters: Adapters | None = None  # where a batch has rows of theirs, layer by layer
        self._stack: ops.Stack | None = None
        self.takes_rows = False
        self._most_rows = 0
        if len(parts) == len(own):
            attention = own[0].attention
            shape = attention.num_heads, attention.num_kv_heads, attention.head_dim
            self._stack = ops.Stack(parts, *shape)
            self.takes_rows = isinstance(attention.qkv, QuantisedLinear)
            self._most_rows = ops.MAX_STEP_ROWS if self.takes_rows else ops.MAX_BF16_ROWS

    def forward(
        self,
        x_BTD: Tensor,
        placement: Placement,
        windows: Sequence[int | None],
        *,
        cache: SequenceCache | None = None,
        dropout: Dropout | None = None,
    ) -> Tensor:
        """Return the residual stream after every layer."""
        batch, length, _ = x_BTD.shape
        is_step = length == 1 and batch <= self._most_rows
        is_step &= self.adapters is None or not self.adapters.present
        if self._stack is not None and cache is not None and is_step:
            places = [cache.slots(i, x_BTD, window=window) for i, window in enumerate(windows)]
            if None not in places:
                tables = placement.cos_BT1P, placement.sin_BT1P, placement.scale_BT11
                return self._stack(x_BTD[:, 0], *tables, cast(list[Slots], places))[:, None]
        return super().forward(x_BTD, placement, windows, cache=cache, dropout=dropout)


def reads_tokens_as_rows(model: Decoder) -> bool:
    """Return whether prompts may be read as rows of one token each, beside replies under way.

    So it is for quantised weights: a product costs the same for each row, whoever it belongs to.
    """
    layers = model.layers
    return isinstance(layers, FusedStack) and layers.takes_rows


class FusedHead(nn.Module):
    """The output projection; shares its weight with whatever shared it before."""

    def __init__(self, head: nn.Linear) -> None:
        """Take over a projection's weight."""
        super().__init__()
        self.weight = head.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (..., V)."""
        return project(self, x)


def project(
    layer: nn.Module,
    x: Tensor,
    *,
    norm: RMSNorm | None = None,
    gated: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """Return prologue(x) · Wᵀ + bias + residual by the fastest way there is for the layer.

    Args:
        layer: quantised, or with a weight and perhaps a bias.
        x: (..., K), or (..., 2K) gate | up where `gated`.
        norm: normalise x first.
        gated: take silu(gate) · up as the input.
        residual: (..., N).
    """
    if isinstance(layer, AdaptedLinear):
        y = project(layer.base, x, norm=norm, gated=gated, residual=residual)
        return layer.added(_after_prologue(x, norm, gated), y) if layer.adapters.present else y
    matrix = matrix_of(layer)
    rows = x.numel() // x.shape[-1]
    if matrix is not None and (matrix.is_quantised or rows <= ops.MAX_BF16_ROWS):
        return ops.linear(x.contiguous(), matrix, norm=norm, gated=gated, residual=residual)
    if matrix is not None and (norm is not None or gated):
        x, norm, gated = ops.prologue(x.contiguous(), norm=norm, gated=gated), None, False
    weight, bias = cast(Tensor, layer.weight), cast(Tensor | None, getattr(layer, "bias", None))
    return plain_projection(x, weight, bias, norm=norm, gated=gated, residual=residual)


def _after_prologue(x: Tensor, norm: RMSNorm | None, gated: bool) -> Tensor:
    """Return what a layer's matrix multiplies, by torch's own operations."""
    if norm is not None:
        x = norm(x)
    if gated:
        gate, up = x.chunk(2, dim=-1)
        x = functional.silu(gate) * up
    return x


def matrix_of(layer: nn.Module) -> ops.Matrix | None:
    """Return a layer's matrix as the kernels take it, described once; None for other types."""
    if isinstance(layer, QuantisedLinear):
        return layer.matrix
    weight = cast(Tensor, layer.weight)
    is_ours = weight.dtype == torch.bfloat16 and weight.is_contiguous()
    if not is_ours or not ops.bf16_kernels_are_open():
        return None
    known: ops.Matrix | None = getattr(layer, KEPT_MATRIX, None)
    if known is None:
        bias = None if getattr(layer, "bias", None) is None else ops.as_float32(layer, "bias")
        known = ops.Matrix(weight.detach(), bias)
        setattr(layer, KEPT_MATRIX, known)
    return known
