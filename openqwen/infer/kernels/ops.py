"""The kernels as functions on tensors; each has a plain torch counterpart that tests compare.

    if kernels_are_open(): y = linear(x, packed, norm=layer.attention_norm)

Tensors are contiguous, on the CPU, bf16 or float32.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openqwen.infer.kernels.build import open_bf16_kernels, open_kernels
from openqwen.model.attention import Slots
from openqwen.model.attention import attend as plain_attend
from openqwen.model.layers import RMSNorm

PLAIN, RMS_NORM, SWIGLU = 0, 1, 2
TYPES = {torch.float32: 0, torch.bfloat16: 1}
HEAD_SIZES = (16, 32, 64, 80, 96, 128, 256)
MAX_BF16_ROWS = 64  # beyond, torch's own matrix product is faster
SCORED_WIDTH = 32  # what `score` takes at a time
MAX_STEP_ROWS = 1024  # of quantised layers in one call; beyond, calls cost next to nothing


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


def bf16_kernels_are_open() -> bool:
    """Return whether those for bf16 matrices, `attend` and `score` are there, too."""
    return open_bf16_kernels()[0] is not None


def linear(
    x: Tensor,
    matrix: "Matrix",
    *,
    norm: RMSNorm | None = None,
    gated: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """Return prologue(x) · Wᵀ + bias + residual.

    Args:
        x: (..., K), or (..., 2K) gate | up where `gated`; bf16 where the matrix is.
        matrix: quantised, or bf16 as it is: that for few rows, where memory is the limit.
        norm: normalise x first.
        gated: take silu(gate) · up as the input.
        residual: (..., N), of x's type.
    """
    m = x.numel() // x.shape[-1]
    out = x.new_empty(*x.shape[:-1], matrix.rows)
    assert not (norm and gated), "one prologue at a time"
    assert matrix.is_quantised or bf16_kernels_are_open(), "this processor multiplies no bf16"
    weight = None if norm is None else _at(as_float32(norm, "weight"))
    prologue = SWIGLU if gated else PLAIN if norm is None else RMS_NORM
    _library().openqwen_linear(
        _at(x), TYPES[x.dtype], prologue, weight, 0.0 if norm is None else norm.eps, m,
        matrix.pointer, _at(residual), _at(out), torch.get_num_threads(),
    )  # fmt: skip
    return out


def prologue(x: Tensor, *, norm: RMSNorm | None = None, gated: bool = False) -> Tensor:
    """Return what `linear` multiplies, rounded to bf16 once: for products that torch does.

    Args:
        x: bf16 (..., K), or (..., 2K) gate | up where `gated`.
        norm: normalise x.
        gated: take silu(gate) · up.
    """
    assert x.dtype == torch.bfloat16
    width = x.shape[-1] // 2 if gated else x.shape[-1]
    out = x.new_empty(*x.shape[:-1], width)
    weight = None if norm is None else _at(as_float32(norm, "weight"))
    _library().openqwen_prologue(
        _at(x), SWIGLU if gated else RMS_NORM, weight, 0.0 if norm is None else norm.eps,
        out.numel() // width, width, _at(out), torch.get_num_threads(),
    )  # fmt: skip
    return out


class Matrix:
    """A matrix with its bias, described to the kernels once; keeps the tensors alive."""

    def __init__(self, weight: "Packed | Tensor", bias: Tensor | None) -> None:
        """Take a quantised matrix or a contiguous bf16 one (N, K), and a float32 bias."""
        self.weight, self.bias = weight, bias
        self.is_quantised = isinstance(weight, Packed)
        if isinstance(weight, Packed):
            self.rows = weight.rows
            values = (weight.bits, weight.rows, weight.columns, weight.group)
            self.struct = _Matrix(*values, _at(weight.values), _at(weight.scales), _at(bias))
        else:
            assert weight.dtype == torch.bfloat16, "plain matrices are bf16"
            self.rows, columns = weight.shape
            self.struct = _Matrix(16, self.rows, columns, 0, _at(weight), None, _at(bias))
        self.pointer = ctypes.addressof(self.struct)


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
    """Rotate one token a row, store its key and value, attend; return (B, H · E).

    Rows may be tokens of one sequence: all are stored before any attends. The tables are those of
    `rotate` with T = 1.
    """
    batch, width = qkv_BN.shape
    size = width // (heads + 2 * kv_heads)
    y = qkv_BN.new_empty(batch, heads * size)
    places = _places([slots])
    _library().openqwen_decode(
        _at(qkv_BN), TYPES[qkv_BN.dtype], heads, kv_heads, size,
        *_tables(cos, sin, logn, size), batch, ctypes.addressof(places), _at(y),
        torch.get_num_threads(),
    )  # fmt: skip
    return y


def attend(
    q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, *, starts: Sequence[int], window: int | None
) -> Tensor:
    """Attend causally as `model.attention.attend` does, by the kernel where tensors are bf16.

    Same arguments; probabilities are rounded to bf16 before they meet the values, as torch does.
    """
    batch, heads, length, size = q_BHTE.shape
    rows_end_inside = max(starts) + length <= k_BKSE.shape[2]
    is_ours = q_BHTE.dtype == torch.bfloat16 and size in HEAD_SIZES and bf16_kernels_are_open()
    if not (is_ours and rows_end_inside):
        return plain_attend(q_BHTE, k_BKSE, v_BKSE, starts=starts, window=window)
    k_BKSE, v_BKSE = (x if x.stride(-1) == 1 else x.contiguous() for x in (k_BKSE, v_BKSE))
    q_BHTE = q_BHTE.contiguous()  # named, as a tensor without a name dies before the call
    strides = (ctypes.c_int64 * 6)(*k_BKSE.stride()[:3], *v_BKSE.stride()[:3])
    begins = (ctypes.c_int32 * batch)(*(list(starts) * batch if len(starts) == 1 else starts))
    y_BTHE = q_BHTE.new_empty(batch, length, heads, size)
    _library().openqwen_attend(
        _at(q_BHTE), k_BKSE.data_ptr(), v_BKSE.data_ptr(),
        ctypes.addressof(strides), heads, k_BKSE.shape[1], size, batch, length,
        ctypes.addressof(begins), window or 0, _at(y_BTHE), torch.get_num_threads(),
    )  # fmt: skip
    return y_BTHE.transpose(1, 2)


def score(
    states_RD: Tensor, weight_VD: Tensor, rows_N: Tensor, tokens_N: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what scoring needs of logits that are never written: all in float32.

    Args:
        states_RD: bf16, D a multiple of `SCORED_WIDTH`.
        weight_VD: the output projection, bf16.
        rows_N: the state that each token stands behind.
        tokens_N: ids.

    Returns:
        The logarithm of each row's sum of exponentials (R,), its likeliest id (R,) int32, and the
        logits of the tokens (N,).
    """
    assert states_RD.dtype == weight_VD.dtype == torch.bfloat16
    (rows, width), (vocab, count) = states_RD.shape, (len(weight_VD), len(rows_N))
    log_sums_R = torch.empty(rows)
    best_R = torch.empty(rows, dtype=torch.int32)
    picked_N = torch.empty(count)
    at_N, ids_N = rows_N.to(torch.int32).contiguous(), tokens_N.to(torch.int32).contiguous()
    states_RD = states_RD.contiguous()
    _library().openqwen_score(
        _at(states_RD), _at(weight_VD), rows, vocab, width, _at(log_sums_R), _at(best_R),
        _at(at_N), _at(ids_N), count, _at(picked_N), torch.get_num_threads(),
    )  # fmt: skip
    return log_sums_R, best_R, picked_N


@dataclass(frozen=True)
class LayerParts:
    """One layer as the kernels take it: its four matrices and two norms of equal epsilon."""

    qkv: Matrix
    out: Matrix
    gate_up: Matrix
    down: Matrix
    attention_norm: RMSNorm
    mlp_norm: RMSNorm


class Stack:
    """All layers of a model for one new token a sequence, in one call."""

    def __init__(self, layers: Sequence[LayerParts], heads: int, kv_heads: int, size: int) -> None:
        """Describe the layers once; `size` is that of a head."""
        self._kept = layers
        self._shape = heads, kv_heads, size
        self._eps = layers[0].attention_norm.eps
        self._widest = max(max(part.qkv.rows, part.gate_up.rows) for part in layers)
        self._layers = (_Layer * len(layers))()
        for struct, part in zip(self._layers, layers, strict=True):
            struct.qkv, struct.out = part.qkv.struct, part.out.struct
            struct.gate_up, struct.down = part.gate_up.struct, part.down.struct
            struct.attention_norm = _at(as_float32(part.attention_norm, "weight"))
            struct.mlp_norm = _at(as_float32(part.mlp_norm, "weight"))

    def __call__(
        self, x_BD: Tensor, cos: Tensor, sin: Tensor, logn: Tensor | None, slots: Sequence[Slots]
    ) -> Tensor:
        """Return the residual stream after all layers; keys and values are stored on the way.

        Args:
            x_BD: embeddings of one token a sequence; not changed.
            cos: as in `rotate`, with T = 1.
            sin: the same.
            logn: the same, or None.
            slots: each layer's.
        """
        heads, kv_heads, size = self._shape
        y_BD = x_BD.clone()
        batch = len(y_BD)
        wide = y_BD.new_empty(batch, self._widest)
        mixed = y_BD.new_empty(batch, heads * size)
        places = _places(slots)
        _library().openqwen_layers(
            _at(y_BD), TYPES[y_BD.dtype], len(self._layers), ctypes.addressof(self._layers),
            ctypes.addressof(places), heads, kv_heads, size, self._eps,
            *_tables(cos, sin, logn, size), batch, _at(wide), _at(mixed),
            torch.get_num_threads(),
        )  # fmt: skip
        return y_BD


class _Matrix(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("bits", "n", "k", "group")),
        *((name, ctypes.c_void_p) for name in ("weights", "scales", "bias")),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("qkv", "out", "gate_up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "mlp_norm")),
    )


class _Places(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "values", "table", "next", "low")),
        *((name, ctypes.c_int) for name in ("table_stride", "block")),
    )


def _places(slots: Sequence[Slots]) -> "ctypes.Array[_Places]":
    """Return where the layers' keys and values stand; layers of one window share their tables."""
    places = (_Places * len(slots))()
    for struct, of in zip(places, slots, strict=True):
        struct.keys, struct.values = of.keys.data_ptr(), of.values.data_ptr()
        struct.table, struct.next = of.table_BN.data_ptr(), of.next_B.data_ptr()
        struct.low = of.low_B.data_ptr()
        struct.table_stride, struct.block = of.table_BN.shape[1], of.keys.shape[2]
    return places


def _tables(
    cos: Tensor, sin: Tensor, logn: Tensor | None, size: int
) -> tuple[int | None, int | None, int, int | None, int]:
    logn_stride = 1 if logn is not None and len(logn) > 1 else 0
    return _at(cos), _at(sin), size // 2 if len(cos) > 1 else 0, _at(logn), logn_stride


_ARGUMENTS: dict[str, str] = {  # p pointer, i int, f float
    "openqwen_linear": "piipfipppi",
    "openqwen_prologue": "pipfiipi",
    "openqwen_rotate": "piiiippipiiippi",
    "openqwen_decode": "piiiippipiippi",
    "openqwen_attend": "ppppiiiiipipi",
    "openqwen_layers": "piippiiifppipiippi",
    "openqwen_score": "ppiiippppipi",
}
_declared: ctypes.CDLL | None = None  # the library whose functions know their arguments


def _library() -> ctypes.CDLL:
    global _declared
    library, why_not = open_kernels()
    assert library is not None, f"the kernels are not there: {why_not}"
    if _declared is not library:
        kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int, "f": ctypes.c_float}
        for name, letters in _ARGUMENTS.items():
            if not hasattr(library, name):  # of the bf16 kernels
                continue
            function = getattr(library, name)
            function.argtypes = [kinds[letter] for letter in letters]
            function.restype = None
        _declared = library
    return library


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
