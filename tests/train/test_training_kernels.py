"""The kernels of training beside plain float64 formulas on the same bf16 numbers.

Tolerance: what a kernel writes is rounded to bf16 (relative 2^-9 = 0.002), and attention rounds
probabilities and their gradients to bf16 before a product; sums of many such terms may be off by
a few roundings of their largest terms, so errors are held to 1 % of the reference's own size.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from openqwen.model.rope import inverse_frequencies, rotary_tables
from openqwen.model.rope import rotate as plain_rotate
from openqwen.train.fused_optimiser import GradientSums
from openqwen.train.kernels import ops

pytestmark = pytest.mark.skipif(not ops.kernels_are_open(), reason="no kernels on this machine")

GENERATOR = torch.Generator()


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    GENERATOR.manual_seed(seed)
    return (torch.randn(*shape, generator=GENERATOR) * scale).bfloat16()


def off_by(found: Tensor, expected: Tensor) -> float:
    """The error's root mean square as a share of the reference's."""
    assert found.shape == expected.shape
    error = found.double() - expected.double()
    return float(error.norm() / expected.double().norm())


def plain_attention(qkv: Tensor, first: Tensor | None, shape: ops.Heads) -> Tensor:
    batch, length, _ = qkv.shape
    heads = qkv.view(batch, length, -1, shape.size).transpose(1, 2)
    q, k, v = heads.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)
    group = shape.heads // shape.kv_heads
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    columns = torch.arange(length)
    seen = (columns[None, :] <= columns[:, None])[None]
    if first is not None:
        seen = seen & (columns[None, None, :] >= first[:, :, None])
    scores = (q @ k.transpose(-1, -2) / shape.size**0.5).masked_fill(~seen[:, None], -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def first_of(texts: list[list[int]]) -> Tensor:
    """Where each token's text begins, from the texts' lengths."""
    return torch.tensor(
        [[sum(row[:i]) for i, count in enumerate(row) for _ in range(count)] for row in texts],
        dtype=torch.int32,
    )


@pytest.mark.parametrize("length", [1, 5, 64, 200])
@pytest.mark.parametrize("shape", [(2, 2, 64), (4, 2, 32), (1, 1, 128)])
def test_attention_and_its_gradient(length, shape):
    shape = ops.Heads(*shape)
    qkv = draw(2, length, (shape.heads + 2 * shape.kv_heads) * shape.size)
    dy = draw(2, length, shape.heads * shape.size, seed=1)
    y, log_sums = ops.attend(qkv, None, shape)
    wide = qkv.double().requires_grad_()
    expected = plain_attention(wide, None, shape)
    assert off_by(y, expected) < 0.005
    (gradient,) = torch.autograd.grad(expected, wide, dy.double())
    found = ops.attend_backward(qkv, y, log_sums, dy, None, shape)
    parts = (shape.heads * shape.size, shape.kv_heads * shape.size, shape.kv_heads * shape.size)
    for name, mine, theirs in zip(
        "qkv", found.split(parts, -1), gradient.split(parts, -1), strict=True
    ):
        if length == 1 and name != "v":  # softmax of one score: no gradient
            assert float(mine.abs().max()) < 0.05
        else:
            assert off_by(mine, theirs) < 0.01, name


def test_texts_of_one_row_do_not_see_each_other():
    shape, texts = ops.Heads(2, 1, 32), [[70, 1, 3, 126], [10, 54, 64, 72]]
    qkv, dy = draw(2, 200, 4 * 32), draw(2, 200, 2 * 32, seed=1)
    first = first_of(texts)
    y, log_sums = ops.attend(qkv, first, shape)
    gradient = ops.attend_backward(qkv, y, log_sums, dy, first, shape)
    wide = qkv.double().requires_grad_()
    expected = plain_attention(wide, first, shape)
    assert off_by(y, expected) < 0.005
    assert off_by(gradient, torch.autograd.grad(expected, wide, dy.double())[0]) < 0.01


def test_a_text_in_a_packed_row_has_the_bits_it_has_alone_where_blocks_agree():
    """At a multiple of a block the same sums are taken in the same order."""
    shape = ops.Heads(2, 2, 64)
    qkv = draw(1, 192, 6 * 64)
    packed, _ = ops.attend(qkv, first_of([[64, 128]]), shape)
    alone, _ = ops.attend(qkv[:, 64:].contiguous(), None, shape)
    assert torch.equal(packed[:, 64:], alone)


@pytest.mark.parametrize("width", [48, 100, 384])
def test_norm_and_its_gradient(width):
    x, weight, dy = draw(37, width), draw(width, seed=1), draw(37, width, seed=2)
    y, scales = ops.norm(x, weight, 1e-6)
    wide, wide_weight = x.double().requires_grad_(), weight.double().requires_grad_()
    expected = functional.rms_norm(wide, (width,), wide_weight, 1e-6)
    assert off_by(y, expected) < 0.004
    dx_expected, dweight_expected = torch.autograd.grad(expected, (wide, wide_weight), dy.double())
    before = draw(37, width, seed=3)
    dx = before.clone()
    dweight = ops.norm_backward(x, dy, weight, scales, dx)
    assert off_by(dx, dx_expected + before.double()) < 0.004
    assert off_by(dweight, dweight_expected) < 0.004


@pytest.mark.parametrize("width", [24, 64, 130])
def test_swiglu_and_its_gradient(width):
    gate_up, dy = draw(19, 2 * width, scale=3), draw(19, width, seed=1)
    wide = gate_up.double().requires_grad_()
    gate, up = wide.chunk(2, -1)
    expected = functional.silu(gate) * up
    assert off_by(ops.swiglu(gate_up), expected) < 0.003
    gradient, again = ops.swiglu_backward(gate_up, dy)
    assert off_by(gradient, torch.autograd.grad(expected, wide, dy.double())[0]) < 0.003
    assert torch.equal(again, ops.swiglu(gate_up))


@pytest.mark.parametrize("rows", [1, 2])
def test_rotation_and_its_gradient(rows):
    shape, positions = ops.Heads(2, 1, 32), torch.arange(rows * 50).view(rows, 50)
    tables = rotary_tables(positions, inverse_frequencies(head_dim=32, theta=1e4))
    qkv = draw(2, 50, 4 * 32)
    found = qkv.clone()
    ops.rotate(found, *tables, shape)
    heads = qkv.view(2, 50, 4, 32)
    expected = torch.cat((plain_rotate(heads[:, :, :3], *tables), heads[:, :, 3:].float()), 2)
    assert off_by(found, expected.flatten(2)) < 0.003
    ops.rotate(found, *tables, shape, back=True)  # a rotation's gradient is the way back
    assert off_by(found, qkv) < 0.004
    assert torch.equal(found.view(2, 50, 4, 32)[:, :, 3], heads[:, :, 3])


def test_rows_are_added_in_float32():
    x = draw(3000, 40)
    torch.testing.assert_close(ops.add_rows(x), x.float().sum(0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("width", [50, 4096])
def test_log_probabilities_and_slopes_of_the_logits(width):
    logits, targets = draw(9, width, scale=4), torch.arange(9) * (width // 9)
    logits[3] *= 30  # far apart: no overflow, no lost maximum
    slopes = torch.linspace(-2, 2, 9)
    log_probs = torch.empty(9)
    log_sums = ops.log_probs(logits, targets, log_probs)
    wide = logits.double().requires_grad_()
    expected = wide.log_softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(log_probs.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_sums.double(), wide.detach().logsumexp(1), rtol=1e-6, atol=1e-5)
    (gradient,) = torch.autograd.grad(expected, wide, slopes.double())
    ops.logit_gradients(logits, targets, log_sums, slopes)
    assert off_by(logits, gradient) < 0.003
    assert float((logits.double() - gradient).abs().max()) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_add_up_in_float32_and_in_order(dtype):
    first, second, third = (draw(10_001, seed=seed).to(dtype) for seed in range(3))
    total = torch.full((10_001,), 77.0)
    ops.fold([first, second], None, out=total)
    assert torch.equal(total, first.float() + second.float())
    whole = total + third.float()
    squares = ops.fold([third], total, out=None)
    assert torch.equal(total, first.float() + second.float())
    assert squares == pytest.approx(float(whole.double().square().sum()), rel=1e-6)
    assert ops.fold([third], total, out=total) == squares
    assert torch.equal(total, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_reads_the_sum_of_what_was_taken(dtype):
    gradients = [draw(1003, seed=seed).to(dtype) for seed in range(5)]
    whole = sum(g.float() for g in gradients[1:]) + gradients[0].float()
    sums = GradientSums([torch.zeros(1003)], [[0]])
    for gradient in gradients:
        sums.add([gradient])
    assert sums.norm(map) == pytest.approx(float(whole.double().norm()), rel=1e-6)
    numbers = (0.5, 0.9, 0.95, 1e-8, 1.0, 1e-3, 1.0)
    kept = [torch.zeros(1003) for _ in range(6)]
    ops.adamw(kept[0], (kept[1], kept[2]), *sums.of(0), None, numbers=numbers)
    ops.adamw(kept[3], (kept[4], kept[5]), [whole], None, None, numbers=numbers)
    torch.testing.assert_close(kept[1], kept[4], rtol=1e-5, atol=1e-6)
    sums.clear()
    sums.add([gradients[0]])
    assert sums.norm(map) == pytest.approx(float(gradients[0].double().norm()), rel=1e-6)


def test_adamw_is_torchs():
    master = draw(1003).float().requires_grad_()
    mine = master.detach().clone()
    moments, copy = (torch.zeros(1003), torch.zeros(1003)), mine.bfloat16()
    theirs = torch.optim.AdamW([master], lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for step in range(1, 4):
        gradient = draw(1003, seed=step, scale=1e-2).float()
        master.grad = gradient * 0.5
        theirs.step()
        numbers = (0.5, 0.9, 0.95, 1e-8, 1 - 3e-3 * 0.1, 3e-3 / (1 - 0.9**step))
        rates = (*numbers, (1 - 0.95**step) ** -0.5)
        ops.adamw(mine, moments, [gradient], None, copy, numbers=rates)
    torch.testing.assert_close(mine, master.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(moments[1], theirs.state[master]["exp_avg_sq"], rtol=1e-5, atol=0)
    assert torch.equal(copy, mine.bfloat16())
