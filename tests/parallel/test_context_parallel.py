import pytest
import torch
from ranks import run_ranks
from spread_models import (
    grouped_config,
    largest_difference,
    mesh_of,
    random_batch,
    rough_decoder,
    whole_gradients,
)
from torch import distributed
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.core.seeds import generator_for
from openqwen.model.attention import attend
from openqwen.model.decoder import new_decoder
from openqwen.model.layers import Dropout
from openqwen.model.likelihood import sequence_losses
from openqwen.model.long_context import LongContext
from openqwen.model.scorer import scorer_from
from openqwen.parallel.columns import Columns
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.context import apply_context_parallel
from openqwen.parallel.ring import plain_attend, plain_attend_backward
from openqwen.train.step import next_token_loss

SEGMENTS = torch.tensor([[0] * 10 + [1] * 5 + [2] * 15, [0] * 20 + [1] * 8 + [-1] * 2])


def step_of(model, width, segments_BT=None, drops=False):
    inputs_BT, targets_BT = random_batch(width=width)
    dropout = Dropout(0.3, generator_for(7)) if drops else None
    nll = next_token_loss(model, inputs_BT, targets_BT, segments_BT=segments_BT, dropout=dropout)
    (nll / 50).backward()
    return nll.detach()


def spread_decoder(count, exchange, dtype=torch.float32):
    model = rough_decoder(dtype)
    config = ParallelConfig(context=count, context_exchange=exchange)
    apply_context_parallel(model, mesh_of(context=count), config)
    return model


def summed_gradients(model):
    """The ranks' gradients are parts of the whole."""
    for parameter in model.parameters():
        distributed.all_reduce(parameter.grad)
    return whole_gradients(model)


def on_ranks(count, exchange, width, dtype):
    found = {}
    cases = {"plain": {}, "dropout": {"drops": True}}
    if exchange == "gather" and width == 30:
        cases["packed"] = {"segments_BT": SEGMENTS}
    for name, options in cases.items():
        model, spread = rough_decoder(dtype), spread_decoder(count, exchange, dtype)
        expected, loss = step_of(model, width, **options), step_of(spread, width, **options)
        found[f"{name} loss"] = abs(float(loss / expected - 1))
        found[f"{name} gradients"] = largest_difference(
            summed_gradients(spread), whole_gradients(model)
        )
    inputs_BT, targets_BT = random_batch(width=width)
    for name, methods in (
        ("scored", {}),
        ("scored long", {"long_context": LongContext(ntk=True, logn=True)}),
        ("scored windows", {"long_context": LongContext(windows=(4, 8))}),
    ):
        measured = [
            sequence_losses(m.eval(), inputs_BT, targets_BT, **methods) for m in (spread, model)
        ]
        found[name] = float((measured[0] - measured[1]).abs().max())
    return found


@pytest.mark.dist
@pytest.mark.parametrize(
    ("count", "exchange", "width"),
    [
        (2, "gather", 32),
        (2, "ring", 32),
        (4, "gather", 32),
        (4, "ring", 32),
        (2, "gather", 30),
        (4, "ring", 27),
    ],
)
def test_float32_losses_and_gradients_are_those_of_one_process(count, exchange, width):
    results = run_ranks(on_ranks, count, count, exchange, width, torch.float32)
    assert results[0].keys() >= {"plain loss", "dropout gradients", "scored long"}
    assert ("packed loss" in results[0]) == (width == 30)
    for result in results:
        assert max(result.values()) < 1e-5, result


@pytest.mark.dist
def test_bfloat16_differs_by_its_noise_only():
    for exchange in ("gather", "ring"):
        for result in run_ranks(on_ranks, 2, 2, exchange, 32, torch.bfloat16):
            assert result["plain loss"] < 2e-3
            assert result["plain gradients"] < 0.03


def refusals(count):
    messages = []
    mesh, ring = mesh_of(context=count), ParallelConfig(context=count, context_exchange="ring")
    with pytest.raises(UserError) as refusal:
        apply_context_parallel(
            scorer_from(new_decoder(grouped_config(), seed=0), seed=0), mesh, ring
        )
    messages.append(str(refusal.value))
    model = spread_decoder(count, "ring")
    with pytest.raises(UserError) as refusal:
        step_of(model, 30, segments_BT=SEGMENTS)
    return [*messages, str(refusal.value)]


@pytest.mark.dist
def test_what_cannot_be_spread_is_refused_with_the_setting_to_change():
    for scorer, packed in run_ranks(refusals, 2, 2):
        assert "parallel.context = 2" in scorer
        assert "set parallel.context to 1" in scorer
        assert "parallel.context_exchange = ring" in packed
        assert "set it to gather" in packed


class Rank:
    def __init__(self, rank, size):
        self._rank, self._size = rank, size

    def rank(self):
        return self._rank

    def size(self):
        return self._size


@pytest.mark.parametrize(("size", "width"), [(2, 32), (3, 31), (4, 5)])
def test_every_token_is_one_ranks_and_order_comes_back(size, width):
    ranks = [Columns(Rank(r, size)) for r in range(size)]
    positions = [c.positions(width, torch.device("cpu")) for c in ranks]
    every = torch.cat(positions)
    assert sorted(every.tolist()) == list(range(len(every)))
    assert width <= len(every) < width + 2 * size
    assert torch.equal(ranks[0].in_order(every, dim=0), torch.arange(len(every)))
    pairs = [int((p + 1).sum()) for p in positions]  # what each rank's queries see
    assert max(pairs) == min(pairs)


@pytest.mark.parametrize("is_causal", [True, False])
def test_plain_attention_gives_sums_and_gradients_as_the_kernel_does(is_causal):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 9, 8, generator=generator)
    k, v = torch.randn(2, 2, 2, 9, 8, generator=generator)
    grad = torch.randn(q.shape, generator=generator)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    y, log_sum = kernel(q, k, v, 0.0, is_causal)
    assert_close(plain_attend(q, k, v, is_causal), (y, log_sum))
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    torch.nn.functional.scaled_dot_product_attention(
        *leaves, is_causal=is_causal, enable_gqa=True
    ).backward(grad)
    found = plain_attend_backward(grad, q, k, v, y, log_sum, is_causal)
    assert_close(found, tuple(t.grad for t in leaves), rtol=1e-5, atol=1e-5)


def test_queries_of_a_later_chunk_attend_as_those_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 32, 8, generator=generator)
    whole = attend(q, k, v, starts=[0], window=None)
    part = attend(q[:, :, 16:24], k[:, :, :24], v[:, :, :24], starts=[16], window=None)
    assert_close(part, whole[:, :, 16:24])
