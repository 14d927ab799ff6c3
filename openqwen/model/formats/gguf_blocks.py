"""Weights out of ggml's block formats, exactly as ggml computes them, vectorised.

    rows = dequantise(bytes_of_three_rows, TensorType.Q5_0)      # float32, one dimension

A block of 32 or 256 weights shares one or two float16 scales. Integers are put together in bytes,
as that is a quarter of the memory traffic; only the last steps are float32. Layouts: ggml's
`ggml-common.h` and `dequantize_row_*` in `ggml-quants.c`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from openqwen.core.gguf import TensorType


def dequantise(data: Tensor, kind: TensorType) -> Tensor:
    """Return the weights of whole blocks as float32, in one dimension.

    Args:
        data: bytes (uint8, one dimension).
        kind: how they are packed.
    """
    if kind in PLAIN:
        return data.view(PLAIN[kind]).float()
    blocks_NB = data.view(-1, kind.block_bytes)
    return UNPACK[kind](blocks_NB).view(-1)


def _half(blocks_NB: Tensor, start: int, count: int = 1) -> Tensor:
    """Return float16 numbers that start at a byte of each block, as float32 (N, count)."""
    return blocks_NB[:, start : start + 2 * count].contiguous().view(torch.float16).float()


def _nibbles(packed_NGB: Tensor) -> Tensor:
    """Return (N, G, 2, B): the low halves of each group's bytes, then the high halves."""
    num, groups, size = packed_NGB.shape
    out = packed_NGB.new_empty(num, groups, 2, size)
    torch.bitwise_and(packed_NGB, 15, out=out[:, :, 0])
    torch.bitwise_right_shift(packed_NGB, 4, out=out[:, :, 1])
    return out


def _spread_bits(packed_NB: Tensor) -> Tensor:
    """Return (N, 8 B) bytes that are 16 where the bit is set: a nibble's fifth bit."""
    values = torch.arange(256)
    table = torch.stack([(values >> bit & 1) << 4 for bit in range(8)], 1).to(torch.uint8)
    wide = table.view(torch.int64).view(-1)  # eight bytes a look-up
    found = wide.index_select(0, packed_NB.reshape(-1).int())
    return found.view(torch.uint8).view(len(packed_NB), -1)


def _scaled(codes: Tensor, shift: int, scale: Tensor) -> Tensor:
    """Return (codes - shift) × scale; the codes stay below 128, so bytes hold the difference."""
    return (codes.view(torch.int8) - shift).float().mul_(scale)


def _q4_0(blocks_NB: Tensor) -> Tensor:
    codes = _nibbles(blocks_NB[:, None, 2:]).view(-1, 32)
    return _scaled(codes, 8, _half(blocks_NB, 0))


def _q4_1(blocks_NB: Tensor) -> Tensor:
    codes = _nibbles(blocks_NB[:, None, 4:]).view(-1, 32)
    scale, least = _half(blocks_NB, 0), _half(blocks_NB, 2)
    return codes.float().mul_(scale).add_(least)


def _q5_0(blocks_NB: Tensor) -> Tensor:
    codes = _nibbles(blocks_NB[:, None, 6:]).view(-1, 32)
    codes.bitwise_or_(_spread_bits(blocks_NB[:, 2:6]))
    return _scaled(codes, 16, _half(blocks_NB, 0))


def _q5_1(blocks_NB: Tensor) -> Tensor:
    codes = _nibbles(blocks_NB[:, None, 8:]).view(-1, 32)
    codes.bitwise_or_(_spread_bits(blocks_NB[:, 4:8]))
    scale, least = _half(blocks_NB, 0), _half(blocks_NB, 2)
    return codes.float().mul_(scale).add_(least)


def _q8_0(blocks_NB: Tensor) -> Tensor:
    return blocks_NB[:, 2:].view(torch.int8).float().mul_(_half(blocks_NB, 0))


def _small_scales(packed_N12: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eight 6-bit scales and minima of a 256-weight block, as float32 (N, 8)."""
    first, second, third = packed_N12[:, :4], packed_N12[:, 4:8], packed_N12[:, 8:]
    scales = torch.cat([first & 63, (third & 15) | (first >> 6 << 4)], 1)
    minima = torch.cat([second & 63, (third >> 4) | (second >> 6 << 4)], 1)
    return scales.float(), minima.float()


def _scaled_less_minimum(codes_N8B: Tensor, blocks_NB: Tensor) -> Tensor:
    """Return code × (d × scale) - (dmin × minimum) for eight groups of 32."""
    scales, minima = _small_scales(blocks_NB[:, 4:16])
    scales *= _half(blocks_NB, 0)
    minima *= _half(blocks_NB, 2)
    return codes_N8B.float().mul_(scales[:, :, None]).sub_(minima[:, :, None])


def _q4_k(blocks_NB: Tensor) -> Tensor:
    codes = _nibbles(blocks_NB[:, 16:].unflatten(1, (4, 32))).view(-1, 8, 32)
    return _scaled_less_minimum(codes, blocks_NB)


def _q5_k(blocks_NB: Tensor) -> Tensor:
    codes = _nibbles(blocks_NB[:, 48:].unflatten(1, (4, 32))).view(-1, 8, 32)
    fifth_NB = blocks_NB[:, 16:48]
    for group in range(8):
        codes[:, group].bitwise_or_((fifth_NB >> group & 1) << 4)
    return _scaled_less_minimum(codes, blocks_NB)


def _q6_k(blocks_NB: Tensor) -> Tensor:
    low_N264 = blocks_NB[:, :128].unflatten(1, (2, 64))
    codes = _nibbles(low_N264).view(-1, 2, 4, 32)
    high_N232 = blocks_NB[:, 128:192].unflatten(1, (2, 32))
    for quarter in range(4):
        codes[:, :, quarter].bitwise_or_((high_N232 >> (2 * quarter) & 3) << 4)
    scales = blocks_NB[:, 192:208].view(torch.int8).float() * _half(blocks_NB, 208)
    return _scaled(codes.view(-1, 16, 16), 32, scales[:, :, None])


PLAIN = {
    TensorType.F32: torch.float32,
    TensorType.F16: torch.float16,
    TensorType.BF16: torch.bfloat16,
}
UNPACK: dict[TensorType, Callable[[Tensor], Tensor]] = {
    TensorType.Q4_0: _q4_0,
    TensorType.Q4_1: _q4_1,
    TensorType.Q5_0: _q5_0,
    TensorType.Q5_1: _q5_1,
    TensorType.Q8_0: _q8_0,
    TensorType.Q4_K: _q4_k,
    TensorType.Q5_K: _q5_k,
    TensorType.Q6_K: _q6_k,
}
