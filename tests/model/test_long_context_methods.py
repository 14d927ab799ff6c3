import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import small_config

from openqwen.model.long_context import (
    NO_EXTENSION,
    LongContext,
    logn_scale,
    next_step,
    ntk_alpha,
    ntk_base,
    plan_long_context,
    window_schedule,
)
from openqwen.model.rope import inverse_frequencies, rotary_tables, rotate

RECORDED = json.loads((Path(__file__).parent / "data/qwen1_formulas.json").read_text())


def test_alpha_steps_where_the_length_passes_a_doubling():
    assert [ntk_alpha(n, 64) for n in (1, 64, 65, 128, 129, 256, 257, 512)] == [
        1, 1, 3, 3, 7, 7, 15, 15,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "train_length"),
    [("ntk_alpha", 64), ("ntk_alpha_seq2048", 2048), ("ntk_alpha_seq8192", 8192)],
)
def test_alpha_matches_the_original(table, train_length):
    for length, alpha in RECORDED[table].items():
        assert ntk_alpha(int(length), train_length) == alpha


@given(length=st.integers(1, 10**7), train_length=st.integers(1, 10**5))
def test_alpha_is_the_published_formula(length, train_length):
    exact = 2 ** math.ceil(math.log2(length / train_length) + 1) - 1
    assert ntk_alpha(length, train_length) == max(exact, 1)


@given(length=st.integers(1, 10**6), train_length=st.integers(1, 10**5))
def test_the_next_step_is_the_first_length_with_another_alpha(length, train_length):
    step = next_step(length, train_length)
    alpha = ntk_alpha(length, train_length)
    assert step > length
    assert ntk_alpha(step - 1, train_length) == alpha
    assert ntk_alpha(step, train_length) == 2 * alpha + 1


def test_a_sequence_is_recomputed_only_where_asked_for_and_only_with_ntk():
    assert LongContext(ntk=True).recompute_at(20, 16) is None
    assert LongContext(ntk=True, recompute=True).recompute_at(20, 16) == 33
    with pytest.raises(ValueError, match="it needs ntk=True"):
        LongContext(logn=True, recompute=True)


@pytest.mark.parametrize("head_dim", [32, 128])
def test_base_and_inverse_frequencies_match_the_original(head_dim):
    for alpha, base in RECORDED[f"rope_base_dim{head_dim}"].items():
        assert ntk_base(10_000.0, int(alpha), head_dim=head_dim) == pytest.approx(base, rel=1e-12)
    for alpha in (1, 3, 7):
        inverse = inverse_frequencies(
            head_dim=head_dim, theta=ntk_base(10_000.0, alpha, head_dim=head_dim)
        )
        recorded = torch.tensor(RECORDED[f"inv_freq_dim{head_dim}_alpha{alpha}"])
        # processors round powers differently in the last place
        torch.testing.assert_close(inverse, recorded, rtol=3e-7, atol=0)
        cos, _ = rotary_tables(torch.tensor([[299]]), inverse)
        first8 = torch.tensor(RECORDED[f"cos_dim{head_dim}_alpha{alpha}_pos299_first8"])
        torch.testing.assert_close(cos[0, 0, 0, :8], first8, atol=1e-6, rtol=0)


def test_rotation_keeps_scores_a_function_of_distance():
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    inverse = inverse_frequencies(head_dim=16, theta=100.0)

    def score(i, j):
        turned = [
            rotate(x, *rotary_tables(torch.tensor([[p]]), inverse)) for x, p in ((q, i), (k, j))
        ]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100))
    assert not torch.isclose(score(9, 4), score(9, 5))


def test_logn_is_one_up_to_the_training_length_and_grows_after_it():
    scale_T = logn_scale(torch.arange(66), train_length=64)
    assert torch.equal(scale_T[:64], torch.ones(64))
    assert scale_T[64] == pytest.approx(math.log(65) / math.log(64), rel=1e-6)


def test_logn_matches_the_original_and_goes_on_past_its_table():
    places = torch.tensor([int(p) for p in RECORDED["logn_at_pos0based"]])
    recorded = torch.tensor(list(RECORDED["logn_at_pos0based"].values()))
    torch.testing.assert_close(logn_scale(places, train_length=64), recorded, atol=3e-7, rtol=0)
    beyond = logn_scale(torch.tensor([32_766, 32_767, 10**6]), train_length=64)
    assert beyond.tolist() == sorted(set(beyond.tolist()))
    assert beyond[1] == pytest.approx(15 / 6, rel=1e-6)


@given(start=st.integers(0, 10**6), length=st.integers(1, 64), train_length=st.integers(2, 10**5))
def test_a_chunk_sees_the_same_scale_as_the_whole(start, length, train_length):
    places = torch.arange(start + length)
    whole = logn_scale(places, train_length=train_length)
    assert torch.equal(whole[start:], logn_scale(places[start:], train_length=train_length))


def test_windows_grow_geometrically_from_half_to_four_times_the_training_length():
    assert window_schedule(4, 256) == (128, 256, 512, 1024)
    assert window_schedule(32, 2048)[0] == 1024
    assert window_schedule(32, 2048)[-1] == 8192
    assert window_schedule(1, 256) == (1024,)
    assert window_schedule(3, 64, low_share=0.25, high_share=1) == (16, 32, 64)
    assert window_schedule(2, 64, low_share=1, high_share=1) == (64, 64)
    ratios = [b / a for a, b in itertools.pairwise(window_schedule(7, 2048))]
    assert max(ratios) - min(ratios) < 0.01


def test_nonsense_lengths_are_refused():
    for call in (
        lambda: ntk_alpha(0, 64),
        lambda: logn_scale(torch.arange(3), train_length=1),
        lambda: window_schedule(0, 64),
        lambda: window_schedule(4, 64, low_share=2, high_share=1),
        lambda: window_schedule(4, 64, low_share=0, high_share=1),
        lambda: next_step(0, 64),
    ):
        with pytest.raises(ValueError, match="length"):
            call()


def test_the_plan_uses_every_method_only_beyond_the_training_length():
    config = small_config()
    assert plan_long_context(config, 16) == NO_EXTENSION
    plan = plan_long_context(config, 17)
    assert plan == LongContext(ntk=True, logn=True, windows=(8, 23, 64))
    assert plan.describe() == "dynamic NTK, LogN, windows 8 … 64"
    exact = LongContext(ntk=True, recompute=True)
    assert exact.describe("α 3 at 20 tokens") == (
        "dynamic NTK (α 3 at 20 tokens, recomputed at each step)"
    )
    assert NO_EXTENSION.describe() == ""
