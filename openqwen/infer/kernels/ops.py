"""The kernels as functions on tensors; each has a plain torch counterpart that tests compare.

    if kernels_are_open(): y = linear(x, packed, norm=layer.attention_norm)

Tensors are contiguous, on the CPU, bf16 or float32.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openqwen.infer.kernels.build import open_kernels
from openqwen.model.attention import Slots
from openqwen.model.layers import RMSNorm

PLAIN, RMS_NORM, SWIGLU = 0, 1, 2
TYPES = {torch.float32: 0, torch.bfloat16: 1}
HEAD_SIZES = (16, 32, 64, 80, 96, 128, 256)
MAX_BF16_ROWS = 8  # beyond, torch's own matrix product is faster


@dataclass(frozen=True)
class Packed:
    """A quantised matrix as the kernels read it; see linear.cpp.

    Attributes:
        bits: 8 or 4.
        group: columns that share a scale.
        rows: N, without the padding to whole panels.
        columns: K.
        values: the panels, uint8.
        scales: float16 (N/32, K/G, 32).
    """

    bits: int
    group: int
    rows: int
    columns: int
    values: Tensor
    scales: Tensor


def kernels_are_open() -> bool:
    """Return whether the kernels can be used here; compiles them at the first call."""
    return open_kernels()[0] is not None


def linear(
    x: Tensor,
    packed: Packed,
    *,
    norm: RMSNorm | None = None,
    gated: bool = False,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Return prologue(x) · Wᵀ + bias + residual of a quantised matrix.

    Args:
        x: (..., K), or (..., 2K) gate | up where `gated`.
        packed: the matrix.
        norm: normalise x first.
        gated: take silu(gate) · up as the input.
        bias: float32 (N,).
        residual: (..., N), of x's type.
    """
    m = x.numel() // x.shape[-1]
    out = x.new_empty(*x.shape[:-1], packed.rows)
    weight, eps, prologue = _prologue(norm, gated)
    _library().openqwen_linear(
        _at(x), TYPES[x.dtype], prologue, weight, eps, packed.bits, m, packed.rows,
        packed.columns, packed.group, _at(packed.values), _at(packed.scales), _at(bias),
        _at(residual), _at(out), torch.get_num_threads(),
    )  # fmt: skip
    return out


def linear_bf16(
    x: Tensor,
    weight_NK: Tensor,
    *,
    norm: RMSNorm | None = None,
    gated: bool = False,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Return the same for a bf16 matrix as it is; for few rows, where memory is the limit."""
    n, k = weight_NK.shape
    m = x.numel() // x.shape[-1]
    out = x.new_empty(*x.shape[:-1], n)
    weight, eps, prologue = _prologue(norm, gated)
    _library().openqwen_linear_bf16(
        _at(x), prologue, weight, eps, m, n, k, _at(weight_NK), _at(bias), _at(residual),
        _at(out), torch.get_num_threads(),
    )  # fmt: skip
    return out


def rotate(
    qkv_BTN: Tensor, heads: int, kv_heads: int, cos: Tensor, sin: Tensor, logn: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return rotated queries (B, H, T, E), LogN in them, and rotated keys (B, K, T, E).

    Args:
        qkv_BTN: the packed projection, N = (H + 2K) · E.
        heads: H.
        kv_heads: K.
        cos: float32 (B or 1, T, 1, E/2).
        sin: the same.
        logn: float32 (B or 1, T, 1, 1), or None.
    """
    batch, length, width = qkv_BTN.shape
    size = width // (heads + 2 * kv_heads)
    q = qkv_BTN.new_empty(batch, heads, length, size)
    k = qkv_BTN.new_empty(batch, kv_heads, length, size)
    _library().openqwen_rotate(
        _at(qkv_BTN), TYPES[qkv_BTN.dtype], heads, kv_heads, size, _at(cos), _at(sin),
        length if len(cos) > 1 else 0, _at(logn),
        length if logn is not None and len(logn) > 1 else 0, batch, length, _at(q), _at(k),
        torch.get_num_threads(),
    )  # fmt: skip
    return q, k


def decode(
    qkv_BN: Tensor,
    heads: int,
    kv_heads: int,
    cos: Tensor,
    sin: Tensor,
    logn: Tensor | None,
    slots: Slots,
) -> Tensor:
    """Rotate one token a sequence, store its key and value, attend; return (B, H · E).

    The tables are those of `rotate` with T = 1.
    """
    batch, width = qkv_BN.shape
    size = width // (heads + 2 * kv_heads)
    y = qkv_BN.new_empty(batch, heads * size)
    _library().openqwen_decode(
        _at(qkv_BN), TYPES[qkv_BN.dtype], heads, kv_heads, size, _at(cos), _at(sin),
        size // 2 if len(cos) > 1 else 0, _at(logn),
        1 if logn is not None and len(logn) > 1 else 0, batch, _at(slots.keys),
        _at(slots.values), _at(slots.table_BN), slots.table_BN.shape[1], slots.keys.shape[2],
        _at(slots.next_B), _at(slots.low_B), _at(y), torch.get_num_threads(),
    )  # fmt: skip
    return y


_ARGUMENTS: dict[str, Sequence[str]] = {  # p pointer, i int, f float
    "openqwen_linear": "piipfiiiiipppppi",
    "openqwen_linear_bf16": "pipfiiippppi",
    "openqwen_rotate": "piiiippipiiippi",
    "openqwen_decode": "piiiippipiipppiipppi",
}
_declared = False


def _library() -> ctypes.CDLL:
    global _declared
    library, why_not = open_kernels()
    assert library is not None, f"the kernels are not there: {why_not}"
    if not _declared:
        kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int, "f": ctypes.c_float}
        for name, letters in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes = [kinds[letter] for letter in letters]
            function.restype = None
        _declared = True
    return library


def _prologue(norm: RMSNorm | None, gated: bool) -> tuple[int | None, float, int]:
    if norm is None:
        return None, 0.0, SWIGLU if gated else PLAIN
    assert not gated, "one prologue at a time"
    return _at(as_float32(norm, "weight")), norm.eps, RMS_NORM


def as_float32(layer: nn.Module, name: str) -> Tensor:
    """Return a small parameter as float32, kept beside it once it was needed."""
    kept: Tensor | None = getattr(layer, f"{name}_f32", None)
    if kept is None:
        kept = getattr(layer, name).detach().float().contiguous()
        setattr(layer, f"{name}_f32", kept)
    return kept


def _at(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.is_contiguous(), "kernels read contiguous tensors"
    return tensor.data_ptr()
