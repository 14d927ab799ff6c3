import struct

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.gguf import TensorType
from openqwen.model.formats.gguf_blocks import dequantise

# places of float16 numbers in a block, by type
SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q4_1": (0, 2), "Q5_1": (0, 2)}


def as_bytes(data):
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def random_blocks(kind, count, seed):
    """Random bits everywhere, and scales that are numbers."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, (count, kind.block_bytes), np.uint8)
    for place in SCALES.get(kind.name, (0,)):
        scale = generator.normal(0, 0.02, (count, 1)).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8)
    return blocks


@pytest.mark.parametrize("kind", [k for k in TensorType if k.block_weights > 1])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 9))
def test_every_block_format_equals_the_published_library(kind, seed, count):
    blocks = random_blocks(kind, count, seed)
    ours = dequantise(torch.from_numpy(blocks).view(-1), kind)
    theirs = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind.name])
    assert torch.equal(ours, torch.from_numpy(theirs).view(-1))


def test_the_types_carry_the_librarys_numbers_and_sizes():
    for kind in TensorType:
        number = gguf.GGMLQuantizationType[kind.name]
        assert kind.code == number
        assert (kind.block_weights, kind.block_bytes) == gguf.GGML_QUANT_SIZES[number]


def test_plain_types_are_read_as_they_are():
    values = torch.tensor([1.0, -2.5, 3.140625, 0.0])
    for kind, dtype in (("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16)):
        data = values.to(dtype).view(torch.uint8)
        assert torch.equal(dequantise(data, TensorType[kind]), values)


HALF = struct.pack("<e", 0.5)
QUARTER = struct.pack("<e", 0.25)


def test_q4_0_by_hand():
    # low halves are the first sixteen weights, high halves the last
    data = HALF + bytes([0x80 | i for i in range(16)])
    expected = [(i - 8) / 2 for i in range(16)] + [0.0] * 16
    assert dequantise(as_bytes(data), TensorType.Q4_0).tolist() == expected


def test_q5_0_by_hand():
    # bit i of the four bytes is the fifth bit of weight i: set for 0, 15, 16 and 31
    data = HALF + struct.pack("<I", 1 | 1 << 15 | 1 << 16 | 1 << 31) + bytes([0x21] * 16)
    expected = [(1 - 16) / 2] * 16 + [(2 - 16) / 2] * 16
    for i in (0, 15, 16, 31):
        expected[i] += 8
    assert dequantise(as_bytes(data), TensorType.Q5_0).tolist() == expected


def test_q8_0_by_hand():
    data = QUARTER + struct.pack("32b", *range(-16, 16))
    assert dequantise(as_bytes(data), TensorType.Q8_0).tolist() == [i / 4 for i in range(-16, 16)]


def test_q5_k_by_hand():
    # eight groups of 32: scales and minima of 6 bits, the last four in two pieces
    scales, minima = [1, 2, 3, 63, 20, 37, 48, 55], [5, 0, 62, 7, 16, 33, 1, 60]
    packed = [s & 63 | (scales[i + 4] >> 4) << 6 for i, s in enumerate(scales[:4])]
    packed += [m & 63 | (minima[i + 4] >> 4) << 6 for i, m in enumerate(minima[:4])]
    packed += [scales[i] & 15 | (minima[i] & 15) << 4 for i in range(4, 8)]
    codes = [[(7 * group + 3 * i) % 32 for i in range(32)] for group in range(8)]
    high = [sum((codes[g][i] >> 4) << g for g in range(8)) for i in range(32)]
    low = [
        codes[2 * pair][i] & 15 | (codes[2 * pair + 1][i] & 15) << 4
        for pair in range(4)
        for i in range(32)
    ]
    data = HALF + QUARTER + bytes(packed) + bytes(high) + bytes(low)
    expected = [scales[g] / 2 * codes[g][i] - minima[g] / 4 for g in range(8) for i in range(32)]
    assert dequantise(as_bytes(data), TensorType.Q5_K).tolist() == expected
    # Q4_K is the same without the fifth bits
    data = HALF + QUARTER + bytes(packed) + bytes(low)
    expected = [
        scales[g] / 2 * (codes[g][i] & 15) - minima[g] / 4 for g in range(8) for i in range(32)
    ]
    assert dequantise(as_bytes(data), TensorType.Q4_K).tolist() == expected


def test_q6_k_by_hand():
    scales = [1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 127, -128]
    codes = [(11 * i) % 64 for i in range(256)]
    low, high = bytearray(128), bytearray(64)
    for half in range(2):
        for i in range(32):
            a, b, c, d = (codes[128 * half + 32 * q + i] for q in range(4))
            low[64 * half + i] = a & 15 | (c & 15) << 4
            low[64 * half + 32 + i] = b & 15 | (d & 15) << 4
            high[32 * half + i] = a >> 4 | (b >> 4) << 2 | (c >> 4) << 4 | (d >> 4) << 6
    data = bytes(low) + bytes(high) + struct.pack("16b", *scales) + HALF
    expected = [scales[i // 16] / 2 * (codes[i] - 32) for i in range(256)]
    assert dequantise(as_bytes(data), TensorType.Q6_K).tolist() == expected
