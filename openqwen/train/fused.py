"""A model's layers for training on the CPU: matrix products by torch, all else by C++ of our own.

    fuse_training(model)            # in place; does nothing where the kernels can't run

Parameters and their names stay; only what runs between them changes. Each layer is one node of the
graph: it keeps its input, the rotated projections, what attention gathered, the stream in its
middle and gate | up, and works the norms' and gate's outputs out again on the way back. Numbers
differ from the plain layers by bf16's rounding.
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from openqwen.model.attention import Placement, SequenceCache
from openqwen.model.backbone import Backbone, DecoderLayer
from openqwen.model.layers import Dropout
from openqwen.train.kernels import ops

_known = threading.local()  # the last mask of this thread, and what it means


def fuse_training(model: Backbone) -> bool:
    """Put fused layers in a model's place where they can run; return whether they do.

    They need the CPU, the kernels, bf16 parameters and heads of a size that they know. What they
    can't do they leave to the plain layers: dropout, windows, caches, adapters.
    """
    weight = model.embed_tokens.weight
    able = (
        weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and model.config.head_dim in ops.HEAD_SIZES
        and ops.kernels_are_open()
    )
    if able:
        for index, layer in enumerate(model.layers):
            if type(layer) is DecoderLayer:
                model.layers[index] = FusedLayer(layer)
    return able


class FusedLayer(DecoderLayer):
    """A `DecoderLayer` that is one step of the graph."""

    def __init__(self, layer: DecoderLayer) -> None:
        """Take over a layer's parts."""
        nn.Module.__init__(self)
        self.attention_norm, self.attention = layer.attention_norm, layer.attention
        self.mlp_norm, self.mlp = layer.mlp_norm, layer.mlp
        self.train(layer.training)

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
        parts = self.attention.qkv, self.attention.out, self.mlp.gate_up, self.mlp.down
        is_plain = (
            window is None
            and cache is None
            and (dropout is None or dropout.p == 0)
            and placement.scale_BT11 is None
            and placement.starts == (0,)
            and x_BTD.dtype == torch.bfloat16
            and all(type(part) is nn.Linear for part in parts)
        )
        if not is_plain:
            return super().forward(
                x_BTD, placement, window=window, cache=cache, layer=layer, dropout=dropout
            )
        attention = self.attention
        shape = ops.Heads(attention.num_heads, attention.num_kv_heads, attention.head_dim)
        weights = (
            self.attention_norm.weight,
            attention.qkv.weight,
            attention.qkv.bias,
            attention.out.weight,
            self.mlp_norm.weight,
            self.mlp.gate_up.weight,
            self.mlp.down.weight,
        )
        places = placement.cos_BT1P, placement.sin_BT1P, first_keys(placement)
        eps = self.attention_norm.eps, self.mlp_norm.eps
        apply: Callable[..., Tensor] = _Layer.apply
        return apply(x_BTD.contiguous(), shape, places, eps, *weights)


def first_keys(placement: Placement) -> Tensor | None:
    """Return the first key that each query of packed texts sees, (B, T) int32, or None for 0.

    Worked out from the mask once for all layers; a text's tokens stand together.
    """
    seen_B1TS = placement.seen_B1TS
    if seen_B1TS is None:
        return None
    kept: tuple[Tensor, Tensor] | None = getattr(_known, "first", None)
    if kept is None or kept[0] is not seen_B1TS:
        first_BT = seen_B1TS[:, 0].to(torch.uint8).argmax(-1).to(torch.int32)
        kept = _known.first = (seen_B1TS, first_BT)
    return kept[1]


class _Layer(torch.autograd.Function):
    """x + attention(norm(x)), then + mlp(norm(·)); products go through torch."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BTD: Tensor,
        shape: ops.Heads,
        places: tuple[Tensor, Tensor, Tensor | None],
        eps: tuple[float, float],
        *weights: Tensor,
    ) -> Tensor:
        norm1, qkv, bias, out, norm2, gate_up, down = weights
        cos, sin, first_BT = places
        x_ND = x_BTD.flatten(0, 1)
        h_ND, scales1_N = ops.norm(x_ND, norm1, eps[0])
        qkv_NF = h_ND @ qkv.T if bias is None else torch.addmm(bias, h_ND, qkv.T)
        qkv_BTF = qkv_NF.view(*x_BTD.shape[:2], -1)
        ops.rotate(qkv_BTF, cos, sin, shape)
        y_BTD, log_sums = ops.attend(qkv_BTF, first_BT, shape)
        middle_ND = torch.addmm(x_ND, y_BTD.flatten(0, 1), out.T)
        h_ND, scales2_N = ops.norm(middle_ND, norm2, eps[1])
        gate_up_NF = h_ND @ gate_up.T
        after_ND = torch.addmm(middle_ND, ops.swiglu(gate_up_NF), down.T)
        ctx.shape, ctx.eps = shape, eps
        ctx.save_for_backward(
            x_BTD, cos, sin, first_BT, qkv_BTF, y_BTD, log_sums, scales1_N, middle_ND, scales2_N,
            gate_up_NF, *weights,
        )  # fmt: skip
        return after_ND.view_as(x_BTD)

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor | None, ...]:
        (
            x_BTD, cos, sin, first_BT, qkv_BTF, y_BTD, log_sums, scales1_N, middle_ND, scales2_N,
            gate_up_NF, norm1, qkv, bias, out, norm2, gate_up, down,
        ) = ctx.saved_tensors  # fmt: skip
        needed = ctx.needs_input_grad[4:]
        x_ND = x_BTD.flatten(0, 1)
        grad_ND = grad_BTD.contiguous().flatten(0, 1)
        dgate_up_NF, act_NF = ops.swiglu_backward(gate_up_NF, grad_ND @ down)
        d_down = _weight_gradient(grad_ND, act_NF, needed[6])
        h_ND, _ = ops.norm(middle_ND, norm2, ctx.eps[1])
        d_gate_up = _weight_gradient(dgate_up_NF, h_ND, needed[5])
        dmiddle_ND = grad_ND.clone()
        d_norm2 = ops.norm_backward(middle_ND, dgate_up_NF @ gate_up, norm2, scales2_N, dmiddle_ND)
        d_out = _weight_gradient(dmiddle_ND, y_BTD.flatten(0, 1), needed[3])
        dqkv_BTF = ops.attend_backward(
            qkv_BTF, y_BTD, log_sums, (dmiddle_ND @ out).view_as(y_BTD), first_BT, ctx.shape
        )
        ops.rotate(dqkv_BTF, cos, sin, ctx.shape, back=True)
        dqkv_NF = dqkv_BTF.flatten(0, 1)
        h_ND, _ = ops.norm(x_ND, norm1, ctx.eps[0])
        d_qkv = _weight_gradient(dqkv_NF, h_ND, needed[1])
        d_bias = ops.add_rows(dqkv_NF).to(bias.dtype) if bias is not None else None
        d_norm1 = ops.norm_backward(x_ND, dqkv_NF @ qkv, norm1, scales1_N, dmiddle_ND)
        weights = (
            d_norm1.to(norm1.dtype), d_qkv, d_bias, d_out, d_norm2.to(norm2.dtype), d_gate_up,
            d_down,
        )  # fmt: skip
        kept = (grad if need else None for grad, need in zip(weights, needed, strict=True))
        return dmiddle_ND.view_as(x_BTD), None, None, None, *kept


def _weight_gradient(dy_NF: Tensor, x_ND: Tensor, needed: bool) -> Tensor | None:
    return dy_NF.T @ x_ND if needed else None
