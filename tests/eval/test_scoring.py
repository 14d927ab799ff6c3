"""Scores of many texts together are those of each text alone, whatever they have in common."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.eval.scoring.config import ScoringConfig
from openqwen.eval.scoring.scorer import Scorer
from openqwen.eval.scoring.tree import Text, plant
from openqwen.infer.fused import fuse
from openqwen.infer.kernels import ops
from openqwen.infer.kernels.ops import bf16_kernels_are_open, kernels_are_open
from openqwen.infer.load import LanguageModel
from openqwen.infer.quantise import quantise
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.model.layers import RMSNorm
from openqwen.model.long_context import LongContext

CONFIG = ModelConfig(
    vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, intermediate_size=128, train_length=64,
)  # fmt: skip


def make_model(dtype=torch.float32):
    """A small model that has opinions."""
    model = new_decoder(CONFIG, seed=3)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model.to(dtype).eval()


def tokens(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, CONFIG.vocab_size, (count,), generator=generator).tolist()


def alone(lm, context, continuation):
    """Log-probability and greediness by one plain pass over one text."""
    ids = (list(context) + list(continuation))[-(lm.context + 1) :]
    logprobs_TV = lm.logits([ids[:-1]])[0].log_softmax(-1)[-len(continuation) :]
    targets = torch.tensor(continuation)
    picked = logprobs_TV.gather(1, targets[:, None]).sum()
    return float(picked), bool((logprobs_TV.argmax(1) == targets).all())


def few_shot_pairs():
    """Two subjects of five questions each; a question's choices are of one token or several."""
    pairs = []
    for subject in range(2):
        shots = tokens(subject, 40)
        for question in range(5):
            context = shots + tokens(100 + 10 * subject + question, 7 + question)
            stem = tokens(200 + question, 2)
            pairs += [(context, [choice]) for choice in (65, 66, 67, 68)]
            pairs += [(context, stem + tokens(300 + i, i + 1)) for i in range(4)]
    return pairs


def assert_alone(lm, pairs, scored, tolerance):
    for (context, continuation), found in zip(pairs, scored, strict=True):
        logprob, is_greedy = alone(lm, context, continuation)
        assert found.logprob == pytest.approx(logprob, abs=tolerance)
        assert found.is_greedy == is_greedy
        assert found.num_tokens == len(continuation)


@pytest.fixture(scope="module")
def lm():
    return LanguageModel(make_model(), None)


def test_few_shot_choices_get_the_scores_of_each_text_alone_for_a_part_of_the_tokens(lm):
    pairs = few_shot_pairs()
    pairs += [(c, [int(lm.logits([c])[0, -1].argmax())]) for c, _ in pairs[::8]]  # greedy ones
    scorer = Scorer(lm, ScoringConfig(least_saved=8))
    scored = scorer.score(pairs)
    assert_alone(lm, pairs, scored, 2e-4)
    assert any(one.is_greedy for one in scored)
    assert not all(one.is_greedy for one in scored)
    # each subject's 40 tokens once, each question's once, each choice's own
    assert scorer.num_computed < scorer.num_given / 9


@pytest.mark.parametrize("bounds", [(1, 1, 1), (7, 20, 1), (13, 1, 4), (1000, 100_000, 1000)])
def test_bounds_of_passes_memory_and_sharing_change_no_score(lm, bounds):
    longest, kept, least = bounds
    pairs = [*few_shot_pairs()[:24], (tokens(9, 50), tokens(10, 9)), (tokens(9, 51), [1, 2])]
    config = ScoringConfig(pass_tokens=longest, kept_tokens=kept, least_saved=least)
    assert_alone(lm, pairs, Scorer(lm, config).score(pairs), 2e-4)


@settings(deadline=None, max_examples=25)
@given(
    pairs=st.lists(
        st.tuples(
            st.lists(st.integers(0, 2), min_size=1, max_size=12),
            st.lists(st.integers(0, 2), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=12,
    ),
    longest=st.integers(1, 9),
    kept=st.integers(1, 30),
    least=st.integers(1, 6),
)
def test_any_texts_even_equal_ones_and_beginnings_of_others_score_as_alone(
    lm, pairs, longest, kept, least
):
    config = ScoringConfig(pass_tokens=longest, kept_tokens=kept, least_saved=least)
    assert_alone(lm, pairs, Scorer(lm, config).score(pairs), 2e-4)


def test_a_tree_holds_every_target_once_and_no_more_tokens_than_the_texts():
    pairs = few_shot_pairs()
    texts = [Text((c + t)[:-1], t) for c, t in pairs]
    waiting, held = plant(texts, longest=16, least_saved=1), []
    size = 0
    while waiting:
        node = waiting.pop()
        size += len(node.ids)
        assert 0 < len(node.ids) <= 16
        held += [(target.text, node.start + target.offset, target.token) for target in node.targets]
        waiting += node.children
    first = [len(text.ids) - len(text.targets) for text in texts]
    expected = [
        (i, first[i] + k, token)
        for i, text in enumerate(texts)
        for k, token in enumerate(text.targets)
    ]
    assert sorted(held) == sorted(expected)
    assert size == len({tuple(text.ids[:n]) for text in texts for n in range(1, len(text.ids) + 1)})


def test_a_text_beyond_the_context_is_cut_from_the_left_and_counted(lm):
    pairs = [(tokens(1, 100), tokens(2, 5)), (tokens(1, 30), tokens(2, 5))]
    scorer = Scorer(lm)
    assert_alone(lm, pairs, scorer.score(pairs), 2e-4)
    assert scorer.num_cut == 1


def test_windows_logn_and_ntk_are_in_force_as_in_a_pass_of_its_own():
    methods = LongContext(ntk=True, logn=True, windows=(48, 20))
    lm = LanguageModel(make_model(), None, long_context=methods, context=200)
    shots = tokens(4, 110)
    pairs = [(shots + tokens(5 + i, 9), tokens(20 + i, 3)) for i in range(4)]
    pairs += [(shots[:40] + tokens(5 + i, 9), tokens(20 + i, 3)) for i in range(2)]
    assert_alone(lm, pairs, Scorer(lm, ScoringConfig(pass_tokens=37)).score(pairs), 2e-4)


@pytest.mark.skipif(not kernels_are_open(), reason="the C++ kernels can't run here")
@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_kernels_score_as_plain_layers_do_to_their_rounding(kind):
    if kind == "bf16" and not bf16_kernels_are_open():
        pytest.skip("the C++ kernels for bf16 can't run here")
    plain, fused = make_model(torch.bfloat16), make_model(torch.bfloat16)
    if kind == "int8":
        quantise(fused, "int8")
    assert fuse(fused)
    reference = LanguageModel(plain.float(), None)
    pairs = few_shot_pairs()
    scored = Scorer(LanguageModel(fused, None), ScoringConfig(least_saved=8)).score(pairs)
    gaps = [
        abs(one.logprob - alone(reference, *pair)[0]) / one.num_tokens
        for one, pair in zip(scored, pairs, strict=True)
    ]
    assert max(gaps) < 0.25
    assert sum(gaps) / len(gaps) < 0.05


def test_memory_for_shared_beginnings_stays_bounded_and_is_given_back(lm, monkeypatch):
    pairs = [(tokens(i, 40), tokens(50 + j, 6)) for i in range(12) for j in range(3)]
    config = ScoringConfig(pass_tokens=64, kept_tokens=100)
    kept_at_once = []
    from openqwen.eval.scoring import scorer as module

    real = module.packed_states

    def watched(model, nodes, rows, **more):
        states = real(model, nodes, rows, **more)
        roots = seen.setdefault("roots", [])
        roots += [node for node in nodes if node.parent is None]
        kept_at_once.append(sum(len(node.ids) for node in roots if node.kept))
        return states

    seen = {}
    monkeypatch.setattr(module, "packed_states", watched)
    assert_alone(lm, pairs, Scorer(lm, config).score(pairs), 2e-4)
    assert 0 < max(kept_at_once) <= 100
    assert not any(node.kept for node in seen["roots"])


def test_empty_and_overlong_continuations_and_unknown_ids_are_refused(lm):
    with pytest.raises(UserError, match="pair 1: context and continuation need a token each"):
        Scorer(lm).score([([1], [2]), ([1], [])])
    with pytest.raises(UserError, match="the continuation has 65 tokens"):
        Scorer(lm).score([([1], [2] * 65)])
    with pytest.raises(ValueError, match="300"):
        Scorer(lm).score([([300], [2])])


@pytest.mark.skipif(not bf16_kernels_are_open(), reason="the C++ kernels can't run here")
@pytest.mark.parametrize(("rows", "vocab"), [(1, 33), (7, 300), (21, 2049), (64, 64)])
def test_the_scoring_kernel_gives_what_whole_logits_give(rows, vocab):
    generator = torch.Generator().manual_seed(rows)
    states_RD = torch.randn(rows, 96, generator=generator).bfloat16()
    weight_VD = torch.randn(vocab, 96, generator=generator).bfloat16()
    rows_N = torch.arange(rows).repeat(2)
    tokens_N = torch.randint(0, vocab, (2 * rows,), generator=generator)
    log_sums_R, best_R, picked_N = ops.score(states_RD, weight_VD, rows_N, tokens_N)
    logits_RV = states_RD.float() @ weight_VD.float().T
    torch.testing.assert_close(log_sums_R, logits_RV.logsumexp(1), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(picked_N, logits_RV[rows_N, tokens_N], atol=1e-4, rtol=1e-5)
    assert torch.equal(best_R.long(), logits_RV.argmax(1))


@pytest.mark.skipif(not kernels_are_open(), reason="the C++ kernels can't run here")
def test_norm_and_gate_of_many_rows_are_those_of_plain_layers_rounded_once():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 11, 88, generator=generator).bfloat16()
    norm = RMSNorm(88, 1e-6)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(88, generator=generator).bfloat16())
    torch.testing.assert_close(
        ops.prologue(x, norm=norm).float(), norm(x.float()), atol=0, rtol=2**-7
    )
    gate, up = x.float().chunk(2, dim=-1)
    expected = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(ops.prologue(x, gated=True).float(), expected, atol=1e-6, rtol=2**-7)
