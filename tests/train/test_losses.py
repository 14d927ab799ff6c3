import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from openqwen.model.likelihood import IGNORED, logit_chunks, token_losses
from openqwen.train.losses import linear_cross_entropy


def problem(rows=37, width=16, vocabulary=50, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(vocabulary, (rows,), generator=generator)
    targets[::5] = IGNORED
    return hidden, weight, targets


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("openqwen.model.likelihood.CHUNK_BYTES", 4 * 50 * 8)  # 8 rows a chunk


@pytest.mark.usefixtures("small_chunks")
def test_loss_and_gradients_are_those_of_the_plain_formula():
    hidden, weight, targets = problem()
    (linear_cross_entropy(hidden, weight, targets) * 0.3).backward()
    found = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    expected = functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    (expected * 0.3).backward()
    assert_close(linear_cross_entropy(hidden, weight, targets), expected)
    assert_close(found, (hidden.grad, weight.grad), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small_chunks")
def test_bfloat16_loss_is_summed_in_float32():
    hidden, weight, targets = problem(rows=400, dtype=torch.bfloat16)
    logits = (hidden @ weight.T).float()
    expected = functional.cross_entropy(logits, targets, reduction="sum")
    assert_close(linear_cross_entropy(hidden, weight, targets), expected, rtol=1e-6, atol=0)
    linear_cross_entropy(hidden, weight, targets).backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16


def test_token_losses_are_zero_where_ignored_and_sum_to_the_loss():
    hidden, weight, targets = problem()
    losses = token_losses(hidden, weight, targets)
    assert torch.equal(losses[::5], torch.zeros(8))
    assert_close(losses.sum(), linear_cross_entropy(hidden, weight, targets).detach())


def test_chunks_cover_every_row_once():
    chunks = logit_chunks(1000, 30_000)
    assert [row for c in chunks for row in range(1000)[c]] == list(range(1000))
    assert logit_chunks(3, 10**9) == [slice(0, 1), slice(1, 2), slice(2, 3)]
