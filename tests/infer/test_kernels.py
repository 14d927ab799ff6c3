"""The C++ kernels against torch's own operations on the same numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from openqwen.core.compiled import open_library
from openqwen.infer.kernels import ops
from openqwen.infer.kernels.build import open_bf16_kernels, open_kernels
from openqwen.infer.quantise import pack, unpack
from openqwen.model.attention import Slots
from openqwen.model.attention import attend as plain_attend
from openqwen.model.layers import RMSNorm

needs_kernels = pytest.mark.skipif(
    open_kernels()[0] is None, reason=f"no kernels here: {open_kernels()[1]}"
)
needs_bf16 = pytest.mark.skipif(
    open_bf16_kernels()[0] is None, reason=f"no bf16 kernels here: {open_bf16_kernels()[1]}"
)
pytestmark = needs_kernels


def drawn(*shape, seed=0, dtype=torch.bfloat16, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).to(dtype)


@pytest.mark.parametrize(("bits", "group"), [(8, 64), (8, 16), (4, 32), (4, 16)])
@pytest.mark.parametrize("rows", [1, 5, 6, 7, 12, 40])
def test_a_quantised_product_is_that_of_its_unpacked_numbers(bits, group, rows):
    weight_NK, bias = drawn(70, 192, dtype=torch.float32), drawn(70, seed=2, dtype=torch.float32)
    packed = pack(weight_NK, bits, group)
    x, residual = drawn(rows, 192, seed=1), drawn(rows, 70, seed=3)
    y = ops.linear(x, ops.Matrix(packed, bias), residual=residual).float()
    expected = functional.linear(x.float(), unpack(packed), bias) + residual.float()
    # activations keep 8 bits a group: an error of about a half per cent of the product's size
    assert (y - expected).abs().max() < 0.02 * expected.abs().max()


def test_activations_that_int8_can_say_give_the_exact_product():
    weight_NK = torch.randint(-8, 8, (64, 64)).float()
    weight_NK[:, 0], weight_NK[:, 32] = -8, -8  # makes each group's scale 1
    packed = pack(weight_NK, 4, 32)
    assert torch.equal(unpack(packed), weight_NK)
    x = torch.randint(-127, 128, (9, 64)).float()
    x[:, 0], x[:, 32] = 127, 127
    y = ops.linear(x, ops.Matrix(packed, None))
    assert torch.equal(y, x @ weight_NK.T)


@needs_bf16
@pytest.mark.parametrize("rows", [1, 3, 4, 8, 40])
def test_a_bf16_product_is_torchs(rows):
    weight_NK, x = drawn(37, 100, scale=0.1), drawn(rows, 100, seed=1)
    y = ops.linear(x, ops.Matrix(weight_NK, None)).float()
    torch.testing.assert_close(y, x.float() @ weight_NK.float().T, atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize("kind", [pytest.param("bf16", marks=needs_bf16), "int8"])
def test_norm_and_gate_come_before_the_product(kind):
    norm = RMSNorm(64, 1e-6)
    norm.weight.data = drawn(64, seed=5, dtype=torch.float32).abs()
    weight_NK = drawn(32, 64, seed=6)
    matrix = ops.Matrix(weight_NK if kind == "bf16" else pack(weight_NK.float(), 8, 64), None)
    x = drawn(4, 64, seed=7, scale=3.0)
    y = ops.linear(x, matrix, norm=norm).float()
    expected = norm(x.float()) @ weight_NK.float().T
    assert (y - expected).abs().max() < 0.02 * expected.abs().max()
    both = drawn(4, 128, seed=8)
    gate, up = both.float().chunk(2, -1)
    y = ops.linear(both, matrix, gated=True).float()
    expected = (functional.silu(gate) * up) @ weight_NK.float().T
    assert (y - expected).abs().max() < 0.02 * expected.abs().max()


@needs_bf16
@pytest.mark.parametrize("width", [100, 2080])
def test_a_row_of_a_bf16_product_does_not_depend_on_how_many_there_are(width):
    weight_NK, x = drawn(37, width, scale=0.1), drawn(64, width, seed=1)
    residual = drawn(64, 37, seed=2)
    matrix = ops.Matrix(weight_NK, drawn(37).float())

    def product(rows):
        return ops.linear(x[rows].contiguous(), matrix, residual=residual[rows].contiguous())

    alone = torch.cat([product(slice(i, i + 1)) for i in range(64)])
    for count in (2, 5, 8, 9, 13, 32, 64):
        assert torch.equal(product(slice(0, count)), alone[:count]), count


@pytest.mark.parametrize(("bits", "group"), [(8, 128), (4, 32)])
def test_the_largest_numbers_overflow_nowhere(bits, group):
    weight_NK = drawn(64, 256, dtype=torch.float32)
    weight_NK[::2] = weight_NK[::2].sign() * (127 if bits == 8 else 8)
    weight_NK[1] = -8 if bits == 4 else 127
    packed = pack(weight_NK, bits, group)
    x = torch.full((5, 256), 127.0) * drawn(5, 256, seed=1, dtype=torch.float32).sign()
    x[0], x[1] = 127, -127
    y = ops.linear(x, ops.Matrix(packed, None))
    torch.testing.assert_close(y, x @ unpack(packed).T, atol=0.5, rtol=1e-5)


@pytest.mark.parametrize("rows", [2, 8, 13])
def test_a_row_of_a_quantised_product_does_not_depend_on_its_neighbours(rows):
    matrix = ops.Matrix(pack(drawn(96, 128, dtype=torch.float32), 4, 32), None)
    x = drawn(rows, 128, seed=1)
    together = ops.linear(x, matrix)
    alone = torch.cat([ops.linear(row[None].contiguous(), matrix) for row in x])
    assert torch.equal(together, alone)


@needs_bf16
@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 150),
    starts=st.lists(st.integers(0, 200), min_size=1, max_size=3),
    window=st.none() | st.integers(1, 200),
    heads=st.sampled_from([(4, 2, 16), (3, 1, 64), (2, 2, 80)]),
)
def test_attention_is_the_plain_one(length, starts, window, heads):
    num_heads, kv_heads, size = heads
    batch, keys = len(starts), max(starts) + length
    q = drawn(batch, num_heads, length, size, seed=1)
    k, v = (drawn(batch, kv_heads, keys + 5, size, seed=seed)[:, :, :keys] for seed in (2, 3))
    y = ops.attend(q, k, v, starts=starts, window=window)
    expected = plain_attend(q.float(), k.float(), v.float(), starts=starts, window=window)
    assert (y.float() - expected).abs().max() < 0.03


def test_attention_in_float32_is_left_to_torch():
    q, k, v = (drawn(1, 2, 9, 16, seed=seed, dtype=torch.float32) for seed in (1, 2, 3))
    y = ops.attend(q, k, v, starts=[0], window=None)
    assert torch.equal(y, plain_attend(q, k, v, starts=[0], window=None))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("window", [None, 7])
def test_decoding_stores_its_token_and_attends_to_its_own_blocks(dtype, window):
    heads, kv_heads, size, block, lengths = 4, 2, 32, 8, [13, 0, 22]
    table_BN = torch.tensor([[5, 1, 0], [2, 0, 0], [4, 3, 6]], dtype=torch.int32)
    keys, values = (drawn(7, kv_heads, block, size, seed=s, dtype=dtype) for s in (1, 2))
    next_B = torch.tensor(lengths, dtype=torch.int32)
    low_B = (next_B + 1 - window).clamp_min(0) if window else torch.zeros_like(next_B)
    qkv_BN = drawn(3, (heads + 2 * kv_heads) * size, seed=3, dtype=dtype)
    angles = drawn(3, 1, 1, size // 2, seed=4, dtype=torch.float32)
    logn = drawn(3, 1, 1, 1, seed=5, dtype=torch.float32).abs()
    before = [x.clone() for x in (keys, values)]
    slots = Slots(keys, values, table_BN, next_B, low_B.to(torch.int32))
    y_BN = ops.decode(qkv_BN, heads, kv_heads, angles.cos(), angles.sin(), logn, slots)
    q, k = ops.rotate(qkv_BN[:, None], heads, kv_heads, angles.cos(), angles.sin(), logn)
    v = qkv_BN.view(3, heads + 2 * kv_heads, 1, size)[:, heads + kv_heads :]
    for row, length in enumerate(lengths):
        own = [x[table_BN[row]].transpose(0, 1).flatten(1, 2)[None, :, :length] for x in before]
        seen = [torch.cat([a, b[row : row + 1]], 2) for a, b in zip(own, (k, v), strict=True)]
        expected = plain_attend(
            q[row : row + 1].float(), *[x.float() for x in seen], starts=[length], window=window
        )
        tolerance = 0.02 if dtype == torch.bfloat16 else 1e-5
        assert (y_BN[row].float() - expected.flatten()).abs().max() < tolerance
        place = table_BN[row, length // block], slice(None), length % block
        assert torch.equal(keys[place], k[row, :, 0])
        assert torch.equal(values[place], v[row, :, 0])


@needs_bf16
def test_a_library_that_is_opened_again_knows_its_arguments_too():
    states_RD, weight_VD = torch.randn(2, 32).bfloat16(), torch.randn(40, 32).bfloat16()
    ops.score(states_RD, weight_VD, torch.arange(2), torch.arange(2))
    open_library.cache_clear()  # as a test of the switch does; pointers must not become 32-bit ints
    _, best_R, _ = ops.score(states_RD, weight_VD, torch.arange(2), torch.arange(2))
    assert torch.equal(best_R.long(), (states_RD.float() @ weight_VD.float().T).argmax(1))
