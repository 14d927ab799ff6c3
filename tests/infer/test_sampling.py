import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_exports import ROWS, byte_tokenizer

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.infer.config import Sampling
from openqwen.infer.sampling import (
    allowed_rows,
    draw_rows,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise,
    pick,
)

PROBS = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])


def draw(logits, *, seed=0, allowed=None, seen=(), **settings_):
    allowed_V = torch.ones(len(logits), dtype=torch.bool) if allowed is None else allowed
    seen_V = torch.zeros(len(logits), dtype=torch.bool)
    seen_V[list(seen)] = True
    return pick(
        logits,
        Sampling(**settings_),
        generator=torch.Generator().manual_seed(seed),
        allowed_V=allowed_V,
        seen_V=seen_V,
    )


def test_filters_keep_what_they_promise():
    assert keep_top_k(PROBS, 2).nonzero().flatten().tolist() == [1, 3]
    assert keep_top_p(PROBS, 0.7).nonzero().flatten().tolist() == [1, 3]
    assert keep_top_p(PROBS, 0.71).nonzero().flatten().tolist() == [1, 3, 4]
    assert keep_top_p(torch.tensor([0.25, 0.5, 0.25]), 0.5).tolist() == [0.0, 0.5, 0.0]
    assert keep_min_p(PROBS, 0.375).nonzero().flatten().tolist() == [1, 3, 4]
    assert torch.equal(keep_top_k(PROBS, 0), PROBS)
    assert torch.equal(keep_top_p(PROBS, 1.0), PROBS)
    assert torch.equal(keep_min_p(PROBS, 0.0), PROBS)


def test_equal_probabilities_are_cut_at_the_higher_ids():
    assert keep_top_k(torch.full((4,), 0.25), 2).nonzero().flatten().tolist() == [0, 1]


def test_greedy_is_temperature_zero_and_the_default():
    logits = PROBS.log()
    assert draw(logits) == draw(logits, greedy=True) == draw(logits, temperature=0.0) == 1
    assert draw(logits, top_k=3, top_p=0.5) == 1


def test_draws_follow_the_tempered_distribution():
    logits, counts = PROBS.log(), torch.zeros(5)
    generator = torch.Generator().manual_seed(0)
    everything, nothing = torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    for _ in range(4000):
        token = pick(
            logits, Sampling(temperature=2.0), generator=generator, allowed_V=everything,
            seen_V=nothing,
        )  # fmt: skip
        counts[token] += 1
    expected = PROBS.sqrt() / PROBS.sqrt().sum()
    torch.testing.assert_close(counts / 4000, expected, atol=0.03, rtol=0)


def test_the_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    seen = torch.tensor([True, True, False])
    lowered = penalise(torch.tensor([2.0, -2.0, 1.0]), seen, 2.0)
    assert lowered.tolist() == [1.0, -4.0, 1.0]
    assert draw(torch.tensor([2.0, 1.5]), repetition_penalty=2.0, seen=[0]) == 1


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40),
    data=st.data(),
    temperature=st.floats(0, 5),
    top_k=st.integers(0, 50),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    penalty=st.floats(0.5, 3),
    seed=st.integers(0, 2**32),
)
def test_only_allowed_rows_are_ever_drawn(
    scores, data, temperature, top_k, top_p, min_p, penalty, seed
):
    allowed = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(scores),
                                              max_size=len(scores)).filter(any)))  # fmt: skip
    chosen = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    logits = torch.tensor(scores)
    first = draw(logits, allowed=allowed, seed=seed, repetition_penalty=penalty, seen=[0], **chosen)
    again = draw(logits, allowed=allowed, seed=seed, repetition_penalty=penalty, seen=[0], **chosen)
    assert first == again
    assert allowed[first]


def test_rows_past_the_vocabulary_and_reserved_tokens_are_not_allowed():
    tokenizer = byte_tokenizer()
    allowed = allowed_rows(ROWS, tokenizer)
    assert allowed[:259].all()  # bytes and the three control tokens
    assert not allowed[259:].any()
    assert tokenizer.control_tokens["<|extra_0|>"] == 259
    assert allowed_rows(ROWS, None).all()


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"temperatur": 1.0}, r"did you mean temperature\?"),
        ({"top_p": 0.0}, "top_p = 0.0 is not valid"),
        ({"greedy": True, "temperature": 0.5}, "contradict"),
        ({"stop": [""]}, "empty text"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0 is not valid"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given_, message):
    with pytest.raises(UserError, match=message):
        parse_config(Sampling, given_, where="generate")


def test_drawing_rows_without_sorting_is_the_same_distribution():
    """Frequencies of 40,000 draws beside the exact top-p distribution; nothing outside the set."""
    generator = torch.Generator().manual_seed(0)
    logits_V = torch.randn(12, generator=generator) * 1.5
    allowed_V = torch.ones(12, dtype=torch.bool)
    allowed_V[3] = False
    bias_V = torch.zeros(12).masked_fill_(~allowed_V, -torch.inf)
    expected_V = keep_top_p(torch.softmax(logits_V / 0.8 + bias_V, 0), 0.8)
    kept = float(expected_V.sum())
    rows = 400
    generators = [torch.Generator().manual_seed(seed) for seed in range(rows)]
    counts_V, taken = torch.zeros(12), 0
    for _ in range(100):
        tokens, first = draw_rows(
            logits_V.expand(rows, 12),
            temperature=0.8,
            top_p=0.8,
            bias_V=bias_V,
            generators=generators,
        )
        counts_V += torch.bincount(torch.tensor(tokens), minlength=12)
        taken += sum(first)
    shares_V = counts_V / counts_V.sum()
    torch.testing.assert_close(shares_V, expected_V / kept, atol=0.012, rtol=0)
    assert not counts_V[expected_V == 0].any()
    assert taken / counts_V.sum() == pytest.approx(kept, abs=0.01)


def test_a_row_draws_the_same_whoever_stands_beside_it():
    logits_BV = torch.randn(5, 50, generator=torch.Generator().manual_seed(1))

    def draw(rows):
        generators = [torch.Generator().manual_seed(row) for row in rows]
        settings = {"temperature": 1.0, "top_p": 0.9, "bias_V": torch.zeros(50)}
        return draw_rows(logits_BV[rows], generators=generators, **settings)[0]

    together = draw([0, 1, 2, 3, 4])
    assert draw([3]) == [together[3]]
    assert draw([4, 1]) == [together[4], together[1]]
