"""The kernels as functions on tensors; each has a plain torch counterpart that tests compare.

    if kernels_are_open(): log_sums_N, log_probs_N = log_probs(logits_NV, targets_N)

Tensors are contiguous and on the CPU; activations are bf16, statistics float32. Every call runs on
the one processor of its thread, without the interpreter's lock.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openqwen.train.kernels.build import open_kernels

HEAD_SIZES = (32, 64, 96, 128, 160, 192, 224, 256)


@dataclass(frozen=True)
class Heads:
    """How many query heads, key heads, and their size."""

    heads: int
    kv_heads: int
    size: int


def kernels_are_open() -> bool:
    """Return whether the kernels can be used here; compiles them at the first call."""
    return open_kernels()[0] is not None


def norm(x_ND: Tensor, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return RMSNorm of each row, (N, D), and 1 / rms, (N,) float32."""
    y_ND, scales_N = torch.empty_like(x_ND), _floats(len(x_ND))
    _library().openqwen_norm(
        _at(x_ND), None, _at(weight_D), eps, *x_ND.shape, _at(y_ND), _at(scales_N)
    )
    return y_ND, scales_N


def norm_backward(
    x_ND: Tensor, dy_ND: Tensor, weight_D: Tensor, scales_N: Tensor, dx_ND: Tensor
) -> Tensor:
    """Add the gradient through a norm to `dx_ND`; return the weight's, (D,) float32."""
    dweight_D = torch.zeros(x_ND.shape[1])
    _library().openqwen_norm_backward(
        _at(x_ND), _at(dy_ND), _at(weight_D), _at(scales_N), *x_ND.shape, _at(dx_ND),
        _at(dweight_D),
    )  # fmt: skip
    return dweight_D


def swiglu(gate_up_NF: Tensor) -> Tensor:
    """Return silu(gate) · up of rows gate | up, (N, F/2)."""
    rows, width = gate_up_NF.shape
    y = gate_up_NF.new_empty(rows, width // 2)
    _library().openqwen_swiglu(_at(gate_up_NF), rows, width // 2, _at(y))
    return y


def swiglu_backward(gate_up_NF: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of gate | up and, once more, silu(gate) · up."""
    rows, width = dy.shape
    dgate_up_NF, y = torch.empty_like(gate_up_NF), torch.empty_like(dy)
    _library().openqwen_swiglu_backward(
        _at(gate_up_NF), _at(dy), rows, width, _at(dgate_up_NF), _at(y)
    )
    return dgate_up_NF, y


def rotate(qkv_BTN: Tensor, cos: Tensor, sin: Tensor, shape: Heads, *, back: bool = False) -> None:
    """Rotate queries and keys in place; `back` by the negative angles, as gradients need it.

    Args:
        qkv_BTN: the packed projection, N = (H + 2K) · E.
        cos: float32 (B or 1, T, 1, E/2).
        sin: the same.
        shape: H, K, E.
        back: the other way.
    """
    batch, length, width = qkv_BTN.shape
    _library().openqwen_rotate(
        _at(qkv_BTN), _at(cos), _at(sin), length if len(cos) > 1 else 0, -1.0 if back else 1.0,
        batch, length, shape.heads + shape.kv_heads, width, shape.size,
    )  # fmt: skip


def attend(qkv_BTN: Tensor, first_BT: Tensor | None, shape: Heads) -> tuple[Tensor, Tensor]:
    """Attend causally.

    Args:
        qkv_BTN: rotated projections.
        first_BT: int32, the first key that each query sees, itself or before; None for 0.
        shape: H, K, E.

    Returns:
        (B, T, H · E), and (B, H, T) float32 log-sums in base 2, which the gradient needs.
    """
    batch, length, _ = qkv_BTN.shape
    y_BTD = qkv_BTN.new_empty(batch, length, shape.heads * shape.size)
    log_sums = torch.empty(batch, shape.heads, length)
    _library().openqwen_attend(
        _at(qkv_BTN), _at(first_BT), batch, length, shape.heads, shape.kv_heads, shape.size,
        _at(y_BTD), _at(log_sums),
    )  # fmt: skip
    return y_BTD, log_sums


def attend_backward(
    qkv_BTN: Tensor,
    y_BTD: Tensor,
    log_sums: Tensor,
    dy_BTD: Tensor,
    first_BT: Tensor | None,
    shape: Heads,
) -> Tensor:
    """Return the gradient of `attend`'s input, (B, T, N)."""
    batch, length, _ = qkv_BTN.shape
    dqkv_BTN = torch.empty_like(qkv_BTN)
    _library().openqwen_attend_backward(
        _at(qkv_BTN), _at(y_BTD), _at(log_sums), _at(dy_BTD), _at(first_BT), batch, length,
        shape.heads, shape.kv_heads, shape.size, _at(dqkv_BTN),
    )  # fmt: skip
    return dqkv_BTN


def add_rows(x_NF: Tensor) -> Tensor:
    """Return the sum of all rows, (F,) float32."""
    sums_F = torch.zeros(x_NF.shape[1])
    _library().openqwen_add_rows(_at(x_NF), *x_NF.shape, _at(sums_F))
    return sums_F


def log_probs(logits_NV: Tensor, targets_N: Tensor, out_N: Tensor) -> Tensor:
    """Write the targets' log-probabilities to `out_N`, float32; return the log-sums, (N,)."""
    log_sums_N = _floats(len(logits_NV))
    _library().openqwen_log_probs(
        _at(logits_NV), *logits_NV.shape, _at(targets_N), _at(log_sums_N), _at(out_N)
    )
    return log_sums_N


def logit_gradients(
    logits_NV: Tensor, targets_N: Tensor, log_sums_N: Tensor, slopes_N: Tensor | None
) -> None:
    """Put -slope · (softmax - one-hot) in the logits' place; slopes are -1 where None."""
    _library().openqwen_logit_gradients(
        _at(logits_NV), *logits_NV.shape, _at(targets_N), _at(log_sums_N), _at(slopes_N)
    )


def fold(gradients: Sequence[Tensor], total: Tensor | None, *, out: Tensor | None) -> float:
    """Add gradients in their order to a sum; return the sum of its squares.

    Args:
        gradients: of one parameter, at least one, contiguous; all bf16 or all float32.
        total: what they are added to, float32, or None for nothing.
        out: takes the sum, may be `total`; None where only the squares are asked for.

    Returns:
        The squares in double precision over blocks.
    """
    listed = _listed(gradients)
    return float(_library().openqwen_fold(*listed, gradients[0].numel(), _at(total), _at(out)))


def adamw(
    master: Tensor,
    moments: tuple[Tensor, Tensor],
    gradients: Sequence[Tensor],
    total: Tensor | None,
    copy: Tensor | None,
    *,
    numbers: tuple[float, float, float, float, float, float, float],
) -> None:
    """Update a master and its moments, all float32, and write the bf16 `copy`.

    Args:
        master: the parameter.
        moments: first and second.
        gradients: as in `fold`; their sum is not yet clipped.
        total: as in `fold`.
        copy: takes the new master rounded, or None.
        numbers: what scales the gradient, beta1, beta2, epsilon, 1 - rate · decay,
            rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t).
    """
    _library().openqwen_adamw(
        _at(master), _at(moments[0]), _at(moments[1]), *_listed(gradients), master.numel(),
        _at(total), *numbers, _at(copy),
    )  # fmt: skip


def _listed(gradients: Sequence[Tensor]) -> tuple[Any, int, int]:
    """Return pointers to gradients of one parameter, whether they are bf16, and their number."""
    first = gradients[0]
    assert all((g.dtype, g.shape) == (first.dtype, first.shape) for g in gradients), "of one kind"
    pointers = (ctypes.c_void_p * len(gradients))(*(_at(gradient) for gradient in gradients))
    return pointers, int(first.dtype == torch.bfloat16), len(gradients)


_ARGUMENTS: dict[str, str] = {  # p pointer, i int, l long, f float
    "openqwen_norm": "pppflipp",
    "openqwen_norm_backward": "pppplipp",
    "openqwen_swiglu": "plip",
    "openqwen_swiglu_backward": "pplipp",
    "openqwen_rotate": "ppplfiiili",
    "openqwen_attend": "ppiiiiipp",
    "openqwen_attend_backward": "pppppiiiiip",
    "openqwen_add_rows": "plip",
    "openqwen_log_probs": "pllppp",
    "openqwen_logit_gradients": "pllppp",
    "openqwen_fold": "piilpp",
    "openqwen_adamw": "ppppiilpfffffffp",
}
_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int, "l": ctypes.c_int64, "f": ctypes.c_float}
_declared: list[ctypes.CDLL] = []


def _library() -> ctypes.CDLL:
    if not _declared:
        library, why_not = open_kernels()
        assert library is not None, f"the kernels are not there: {why_not}"
        for name, letters in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes = [_KINDS[letter] for letter in letters]
            function.restype = ctypes.c_double if name == "openqwen_fold" else None
        _declared.append(library)
    return _declared[0]


def _floats(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.float32)


def _at(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.is_contiguous(), "kernels read contiguous tensors"
    return tensor.data_ptr()
