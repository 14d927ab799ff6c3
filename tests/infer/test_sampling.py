import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_exports import ROWS, byte_tokenizer

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.infer.config import Sampling
from openqwen.infer.sampling import Draw, Sampler, allowed_rows, draw_rows, keep_top_k, penalise

PROBS = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])


def choose(logits, *, seed=0, allowed=None, prompt=(), reply=(), **settings_):
    """The token that one row of logits gives."""
    allowed_V = torch.ones(len(logits), dtype=torch.bool) if allowed is None else allowed
    one = Draw(Sampling(**settings_), prompt, seed)
    for token in reply:
        one.count(token)
    kept = logits.clone()
    choice = Sampler(allowed_V, "cpu").choose(logits[None], [one])[0]
    assert torch.equal(logits, kept)
    return choice.token


def filtered(logits, *, temperature=1.0, top_k=0, min_p=0.0, top_p=1.0):
    """The distribution that the settings promise, one filter after the other, by sorting."""
    probs = torch.softmax(logits / temperature, 0)
    order = probs.argsort(descending=True, stable=True)
    probs[order[top_k or len(probs) :]] = 0
    probs[probs < min_p * probs.max()] = 0
    before = probs[order].cumsum(0) - probs[order]
    probs[order[before >= top_p * probs.sum()]] = 0
    return probs / probs.sum()


def test_top_k_keeps_what_it_promises():
    assert keep_top_k(PROBS, 2).nonzero().flatten().tolist() == [1, 3]
    assert torch.equal(keep_top_k(PROBS, 0), PROBS)
    assert torch.equal(keep_top_k(PROBS, 5), PROBS)


def test_equal_probabilities_are_cut_at_the_higher_ids():
    assert keep_top_k(torch.full((4,), 0.25), 2).nonzero().flatten().tolist() == [0, 1]
    some = torch.tensor([0.1, 0.3, 0.1, 0.3, 0.1, 0.1])
    assert keep_top_k(some, 4).nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_greedy_is_temperature_zero_and_the_default():
    logits = PROBS.log()
    assert choose(logits) == choose(logits, greedy=True) == choose(logits, temperature=0.0) == 1
    assert choose(logits, top_k=3, top_p=0.5) == 1
    assert choose(logits, temperature=1e-30, seed=3) == 1


@pytest.mark.parametrize(
    "chosen",
    [
        {"temperature": 2.0},
        {"temperature": 1.0, "top_k": 3},
        {"temperature": 1.0, "min_p": 0.3},
        {"temperature": 1.0, "top_p": 0.7},
        {"temperature": 1.0, "top_p": 0.71},
        {"temperature": 1.3, "top_k": 4, "min_p": 0.2, "top_p": 0.8},
    ],
    ids=str,
)
def test_draws_follow_the_filtered_distribution(chosen):
    logits, rows = PROBS.log(), 4000
    draws = [Draw(Sampling(**chosen), (), seed) for seed in range(rows)]
    sampler = Sampler(torch.ones(5, dtype=torch.bool), "cpu")
    choices = sampler.choose(logits.expand(rows, 5), draws)
    counts = torch.bincount(torch.tensor([choice.token for choice in choices]), minlength=5)
    expected = filtered(logits, **chosen)
    torch.testing.assert_close(counts / rows, expected, atol=0.03, rtol=0)
    assert not counts[expected == 0].any()


def test_settings_of_one_row_do_not_touch_another():
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    settings_ = [
        Sampling(),
        Sampling(temperature=1.0, top_k=5),
        Sampling(temperature=0.7, top_p=0.8, repetition_penalty=1.5),
        Sampling(logit_bias={7: 100.0}),
        Sampling(temperature=2.0, min_p=0.1),
        Sampling(logprobs=True),
    ]
    sampler = Sampler(torch.arange(40) != 20, "cpu")
    together = sampler.choose(logits, [Draw(s, [1, 2], i) for i, s in enumerate(settings_)])
    alone = [
        sampler.choose(logits[i : i + 1], [Draw(s, [1, 2], i)])[0] for i, s in enumerate(settings_)
    ]
    assert together == alone
    assert together[3].token == 7


def test_the_repetition_penalty_lowers_what_was_seen_whatever_its_sign():
    lowered = penalise(torch.tensor([2.0, -2.0, 0.0]), 2.0)
    assert lowered.tolist() == [1.0, -4.0, 0.0]
    logits = torch.tensor([2.0, 1.5, 1.0])
    assert choose(logits, repetition_penalty=2.0, prompt=[0]) == 1
    assert choose(logits, repetition_penalty=2.0, prompt=[0], reply=[1]) in (0, 2)
    assert choose(logits, repetition_penalty=2.0) == 0


def test_presence_and_frequency_count_the_reply_and_not_the_prompt():
    logits = torch.tensor([2.0, 1.5, 0.0])
    assert choose(logits, presence_penalty=0.6, prompt=[0]) == 0
    assert choose(logits, presence_penalty=0.6, reply=[0]) == 1
    assert choose(logits, presence_penalty=0.4, reply=[0, 0, 0]) == 0
    assert choose(logits, frequency_penalty=0.2, reply=[0, 0]) == 0
    assert choose(logits, frequency_penalty=0.2, reply=[0, 0, 0]) == 1
    assert choose(logits, frequency_penalty=-1.0, reply=[1]) == 1


def test_a_bias_moves_an_id_and_cannot_revive_a_forbidden_one():
    logits = torch.tensor([2.0, 1.5, 0.0, 9.0])
    allowed = torch.tensor([True, True, True, False])
    assert choose(logits, logit_bias={2: 2.5}, allowed=allowed) == 2
    assert choose(logits, logit_bias={3: 100.0}, allowed=allowed) == 0
    gap = torch.tensor([True, False, True, True])
    assert choose(logits, logit_bias={1: 100.0, 3: -100.0}, allowed=gap) == 0


def test_logprobs_are_of_the_full_softmax_before_any_filter():
    logits = torch.tensor([[2.0, 1.5, 0.0, 9.0]])
    one = Draw(Sampling(logprobs=True, top_logprobs=2, logit_bias={1: 5.0}), (), 0)
    choice = Sampler(torch.arange(4) < 3, "cpu").choose(logits, [one])[0]
    expected = logits[0].log_softmax(0)
    assert choice.token == 1
    assert choice.logprob == pytest.approx(float(expected[1]))
    assert [i for i, _ in choice.top] == [3, 0]
    assert [x for _, x in choice.top] == pytest.approx(expected[[3, 0]].tolist())


@pytest.mark.parametrize("chosen", [{}, {"temperature": 1.0}, {"logprobs": True}], ids=str)
def test_a_row_with_a_nan_has_no_token_and_its_neighbour_has(chosen):
    logits = torch.tensor([[1.0, torch.nan, 2.0], [1.0, 5.0, 2.0]])
    draws = [Draw(Sampling(top_k=1, **chosen), (), 0) for _ in range(2)]
    choices = Sampler(torch.ones(3, dtype=torch.bool), "cpu").choose(logits, draws)
    assert [choice.token for choice in choices] == [None, 1]


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
    others = {"repetition_penalty": penalty, "prompt": [0], "presence_penalty": 1.0, "reply": [1]}
    first = choose(logits, allowed=allowed, seed=seed, **others, **chosen)
    again = choose(logits, allowed=allowed, seed=seed, **others, **chosen)
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
        ({"top_logprobs": 3}, "top_logprobs = 3 needs logprobs"),
        ({"logit_bias": {"x": 1.0}}, "logit_bias"),
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
    full_V = torch.softmax(logits_V / 0.8 + bias_V, 0)
    expected_V = filtered(logits_V + bias_V, temperature=0.8, top_p=0.8)
    kept = float(full_V[expected_V > 0].sum())
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
    torch.testing.assert_close(shares_V, expected_V, atol=0.012, rtol=0)
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


@pytest.mark.parametrize("top_p", [5e-324, 1e-30, 1e-4])
def test_a_tiny_top_p_leaves_the_likeliest_tokens_and_comes_to_an_end(top_p):
    logits_BV = torch.zeros(2, 50_000)
    logits_BV[0, 7], logits_BV[1, 40_000:40_003] = 0.1, 0.1  # nearly flat: hardly ever drawn
    for seed in range(5):
        tokens, _ = draw_rows(
            logits_BV, temperature=1.0, top_p=top_p, bias_V=torch.zeros(50_000),
            generators=[torch.Generator().manual_seed(seed + i) for i in range(2)],
        )  # fmt: skip
        if top_p < 1e-5:
            assert tokens[0] == 7
            assert tokens[1] in (40_000, 40_001, 40_002)


def test_sorting_draws_what_drawing_again_draws(monkeypatch):
    logits_V = torch.tensor([2.0, 1.0, 1.0, 0.5, 0.0, -1.0])
    settings = {"temperature": 1.0, "top_p": 0.6, "bias_V": torch.zeros(6)}

    def shares():
        generators = [torch.Generator().manual_seed(i) for i in range(4000)]
        tokens, _ = draw_rows(logits_V.expand(4000, 6), generators=generators, **settings)
        return torch.bincount(torch.tensor(tokens), minlength=6) / 4000

    again = shares()
    monkeypatch.setattr("openqwen.infer.sampling.MOST_ROUNDS", 0)
    assert torch.allclose(shares(), again, atol=0.03)
    assert shares()[3:].sum() == 0
