"""The formulas of PPO: a toy by hand, TRL's and OpenRLHF's recorded numbers, properties."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from openqwen.train.losses import linear_token_loss
from openqwen.train.ppo_losses import (
    clipped_policy_terms,
    explained_variance,
    gae,
    kl_estimates,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)

RECORDED = Path(__file__).parent / "data" / "ppo_references.json.gz"
CASES = json.loads(gzip.decompress(RECORDED.read_bytes()))
CLOSE = {"rtol": 1e-8, "atol": 1e-9}


def wide(values):
    return torch.tensor(values, dtype=torch.float64)


def each(kind):
    cases = CASES[kind]
    shapes = [f"{len(c['mask'])}x{len(c['mask'][0])}" for c in cases]
    names = [f"{i}-{shape}" for i, shape in enumerate(shapes)]
    return pytest.mark.parametrize("case", cases, ids=names)


def test_advantages_of_five_tokens_are_those_worked_out_by_hand():
    # a score of 2 on the third of three response tokens; two columns of padding with rubbish
    rewards = wide([[0.0, 0.0, 2.0, 9.0, 9.0]])
    values = wide([[1.0, 2.0, 1.0, 7.0, 7.0]])
    mask = wide([[1, 1, 1, 0, 0]])
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.5)
    # from the end: 2-1 = 1; 0+1-2 + 0.5·1 = -0.5; 0+2-1 + 0.5·(-0.5) = 0.75
    assert advantages.tolist() == [[0.75, -0.5, 1.0, 0.0, 0.0]]
    assert returns.tolist() == [[1.75, 1.5, 2.0, 0.0, 0.0]]


def test_the_score_sits_on_the_last_response_token_and_the_penalty_on_all():
    mask = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    k1 = torch.full((3, 5), 2.0)
    rewards = token_rewards(torch.tensor([3.0, -1.0, 0.0]), k1, mask, kl_coefficient=0.25)
    assert rewards.tolist() == [
        [-0.5, -0.5, 2.5, 0, 0],
        [-0.5, -0.5, -0.5, -0.5, -1.5],
        [-0.5, 0, 0, 0, 0],
    ]


def test_a_ratio_past_the_clip_bears_no_gradient_in_the_direction_of_its_advantage():
    logprobs = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5]))
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss, slope = clipped_policy_terms(logprobs, torch.zeros(4), advantages, clip=0.2)
    assert_close(loss, torch.tensor([-1.2, 1.5, -0.5, 0.8]))
    assert_close(slope, torch.tensor([0.0, 1.5, -0.5, 0.0]))


def test_the_value_may_move_only_by_the_clip():
    mask = torch.ones(1, 2)
    moved = torch.tensor([[1.0, 0.1]], requires_grad=True)
    loss, clipped = value_loss(moved, torch.zeros(1, 2), torch.ones(1, 2), mask, clip=0.15)
    assert_close(loss.detach(), torch.tensor(0.5 * (0.85**2 + 0.9**2) / 2))
    assert float(clipped) == 0.5
    (slope,) = torch.autograd.grad(loss, moved)
    assert_close(slope, torch.tensor([[0.0, -0.45]]))


def test_a_value_model_that_knows_the_returns_explains_all_a_constant_nothing():
    returns = torch.tensor([[1.0, 2.0, 4.0, 9.0]])
    mask = torch.tensor([[1.0, 1, 1, 0]])
    assert float(explained_variance(returns, returns, mask)) == 1
    assert float(explained_variance(torch.full((1, 4), 5.0), returns, mask)) == pytest.approx(0)
    assert float(explained_variance(-returns, returns, mask)) == pytest.approx(-3)


@each("gae")
def test_advantages_and_returns_match_the_recorded(case):
    mask = wide(case["mask"])
    advantages, returns = gae(
        wide(case["rewards"]), wide(case["values"]), mask, gamma=case["gamma"], lam=case["lam"]
    )
    assert_close(advantages, wide(case["advantages"]), **CLOSE)
    assert_close(returns * mask, wide(case["returns"]) * mask, **CLOSE)
    if "advantages_whitened_trl" in case:
        wanted = wide(case["advantages_whitened_trl"]) * mask
        assert_close(whiten(advantages, mask), wanted, rtol=1e-6, atol=1e-7)


@each("policy_loss")
def test_the_policy_loss_matches_the_recorded_in_value_and_gradient(case):
    logprobs = wide(case["new_logprobs"]).requires_grad_()
    loss, clipped = policy_loss(
        logprobs,
        wide(case["old_logprobs"]),
        wide(case["advantages"]),
        wide(case["mask"]),
        clip=case["clip"],
    )
    assert_close(loss.detach(), wide(case["loss"]), **CLOSE)
    assert float(clipped) == pytest.approx(case["clip_fraction_trl"], rel=1e-6)
    (slope,) = torch.autograd.grad(loss, logprobs)
    assert_close(slope, wide(case["grad_new_logprobs"]), **CLOSE)


@each("policy_loss")
def test_the_slope_we_give_is_the_slope_that_autograd_finds(case):
    """The trainer passes slopes through the projection by hand; they must be the loss's own."""
    mask = wide(case["mask"])
    old, advantages = wide(case["old_logprobs"]), wide(case["advantages"])
    _, slope = clipped_policy_terms(wide(case["new_logprobs"]), old, advantages, clip=case["clip"])
    assert_close(slope * mask / mask.sum(), wide(case["grad_new_logprobs"]), **CLOSE)


@each("value_loss")
def test_the_value_loss_matches_the_recorded_in_value_and_gradient(case):
    values = wide(case["new_values"]).requires_grad_()
    loss, _ = value_loss(
        values,
        wide(case["old_values"]),
        wide(case["returns"]),
        wide(case["mask"]),
        clip=case["clip"],
    )
    assert_close(loss.detach(), wide(case["loss"]), **CLOSE)
    (slope,) = torch.autograd.grad(loss, values)
    assert_close(slope, wide(case["grad_new_values"]), **CLOSE)


@each("kl")
def test_kl_estimates_and_token_rewards_match_the_recorded(case):
    mask = wide(case["mask"])
    k1, k2, k3 = kl_estimates(wide(case["logprobs"]), wide(case["ref_logprobs"]))
    assert_close(k1 * mask, wide(case["k1_trl_float64"]) * mask, **CLOSE)
    assert_close(k3 * mask, wide(case["k3_trl_float64"]) * mask, rtol=1e-7, atol=1e-9)
    # recorded in float32
    unclamped = k1.abs() < 10
    assert_close(k2[unclamped], wide(case["k2"])[unclamped], rtol=1e-4, atol=1e-6)
    rewards = token_rewards(wide(case["scores"]), k1, mask, kl_coefficient=case["kl_coef"])
    assert_close(rewards, wide(case["rewards_openrlhf"]) * mask, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 9))
def test_with_lambda_and_gamma_one_the_return_is_the_sum_of_rewards_to_come(seed, rows, width):
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, width + 1, (rows, 1), generator=generator)
    mask = (torch.arange(width) < lengths).double()
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_come = (rewards * mask).flip(1).cumsum(1).flip(1) * mask
    assert_close(returns, to_come)
    assert_close(advantages, (to_come - values) * mask)


@given(st.integers(0, 2**31))
def test_whitened_numbers_have_mean_zero_and_deviation_one_inside_the_mask(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 8, generator=generator, dtype=torch.float64) * 5 + 2
    mask = (torch.arange(8) < torch.tensor([[8], [3], [1]])).double()
    inside = whiten(values, mask)[mask > 0]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-9)
    assert float(inside.std()) == pytest.approx(1, abs=1e-6)
    assert float((whiten(values, mask) * (1 - mask)).abs().max()) == 0


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=9))
def test_k3_is_never_negative_and_zero_where_the_two_agree(gaps):
    _, _, k3 = kl_estimates(wide(gaps), torch.zeros(len(gaps), dtype=torch.float64))
    assert bool((k3 >= 0).all())
    assert float(kl_estimates(wide([-3.0]), wide([-3.0]))[2]) == 0


def test_the_projection_in_chunks_gives_the_gradient_of_all_logits_at_once(monkeypatch):
    monkeypatch.setattr("openqwen.model.likelihood.CHUNK_BYTES", 4 * 50 * 3)  # three rows a chunk
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 16, generator=generator).requires_grad_()
    weight = torch.randn(50, 16, generator=generator).requires_grad_()
    targets = torch.randint(50, (11,), generator=generator)
    advantages = torch.randn(11, generator=generator)
    ones = torch.ones(1, 11)
    all_at_once = torch.log_softmax(hidden @ weight.T, 1).gather(1, targets[:, None])[:, 0]
    old = all_at_once.detach() + 0.3 * torch.randn(11, generator=generator)
    loss, _ = policy_loss(all_at_once[None], old[None], advantages[None], ones, clip=0.2)

    def token_loss(logprobs, rows):
        return clipped_policy_terms(logprobs, old[rows], advantages[rows], clip=0.2)

    total, logprobs = linear_token_loss(hidden, weight, targets, token_loss)
    assert_close(logprobs, all_at_once.detach())
    assert_close(total / 11, loss)
    wanted = torch.autograd.grad(loss, (hidden, weight))
    assert_close(torch.autograd.grad(total / 11, (hidden, weight)), wanted)
    assert float(masked_mean(old[None], ones)) == pytest.approx(float(old.mean()))
