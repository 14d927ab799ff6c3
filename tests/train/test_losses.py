import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.testing import assert_close
from torch.testing._internal.two_tensor import TwoTensor

from openqwen.model.likelihood import IGNORED, logit_chunks, token_losses
from openqwen.train.fused_loss import can_fuse
from openqwen.train.kernels import ops
from openqwen.train.losses import linear_cross_entropy, linear_token_loss


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


@pytest.mark.skipif(not ops.kernels_are_open(), reason="no kernels on this machine")
def test_kernels_refuse_tensors_that_only_pretend_to_have_memory():
    hidden, weight, targets = problem(dtype=torch.bfloat16)
    assert can_fuse(hidden, weight)
    assert not can_fuse(hidden.to("meta"), weight.to("meta"))
    assert not can_fuse(TwoTensor(hidden, hidden), weight)  # a wrapper's memory is its parts'
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert not can_fuse(hidden, weight)  # results would be fake
        fake = [mode.from_tensor(t) for t in (hidden, weight, targets)]
    for pair in ((fake[0], fake[1]), (hidden, fake[1]), (fake[0], weight)):
        assert not can_fuse(*pair)
    nll, log_probs = linear_token_loss(*fake, lambda log_probs_N, rows: (-log_probs_N, None))
    nll.backward()
    assert (nll.shape, log_probs.shape) == ((), targets.shape)
    assert fake[1].grad.shape == weight.shape
