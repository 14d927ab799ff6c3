"""The formulas of PPO, pure functions of padded tensors and masks (§3.2.2; Schulman et al. 2017).

    advantages_BT, returns_BT = gae(rewards_BT, values_BT, mask_BT, gamma=1.0, lam=0.95)
    loss, clipped = policy_loss(logprobs_BT, old_BT, advantages_BT, mask_BT, clip=0.2)

Masks are 1 on response tokens; a row's response tokens stand together, from column 0 on. All
values match TRL and OpenRLHF on the recorded cases.
"""

import torch
from torch import Tensor


def gae(
    rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, 0 outside the mask (Schulman et al. 2016).

    δ = r + γ·V′ - V with V′ = 0 after the last token; A = δ + γ·λ·A′; returns are A + V.
    """
    rewards_BT, values_BT = rewards_BT * mask_BT, values_BT * mask_BT
    advantages_BT = torch.zeros_like(rewards_BT)
    later_B = torch.zeros_like(rewards_BT[:, 0])
    next_value_B = torch.zeros_like(later_B)
    for t in range(rewards_BT.shape[1] - 1, -1, -1):
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        later_B = (delta_B + gamma * lam * later_B) * mask_BT[:, t]
        advantages_BT[:, t] = later_B
        next_value_B = values_BT[:, t]
    return advantages_BT, (advantages_BT + values_BT) * mask_BT


def policy_loss(
    logprobs_BT: Tensor, old_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor, *, clip: float
) -> tuple[Tensor, Tensor]:
    """Return the clipped loss, a mean over unmasked tokens, and the share of clipped tokens."""
    loss_BT, _ = clipped_policy_terms(logprobs_BT, old_BT, advantages_BT, clip=clip)
    clipped_BT = is_clipped((logprobs_BT - old_BT).exp(), advantages_BT, clip=clip)
    return masked_mean(loss_BT, mask_BT), masked_mean(clipped_BT.float(), mask_BT)


def clipped_policy_terms(
    logprobs: Tensor, old: Tensor, advantages: Tensor, *, clip: float
) -> tuple[Tensor, Tensor]:
    """Return each token's loss, max(-A·ratio, -A·clip(ratio)), and its slope in the log-prob."""
    ratio = (logprobs - old).exp()
    plain, bounded = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    # where the bounded branch is larger the ratio lies outside and the slope is 0
    return torch.maximum(plain, bounded), torch.where(plain >= bounded, plain, 0.0)


def is_clipped(ratio: Tensor, advantages: Tensor, *, clip: float) -> Tensor:
    """Return for which tokens the clipped ratio is the one that counts, bool."""
    return advantages * ratio.clamp(1 - clip, 1 + clip) < advantages * ratio


def value_loss(
    values_BT: Tensor, old_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor, *, clip: float
) -> tuple[Tensor, Tensor]:
    """Return half the mean clipped squared error over unmasked tokens, and the clipped share."""
    terms, clipped = value_terms(values_BT, old_BT, returns_BT, clip=clip)
    return masked_mean(terms, mask_BT), masked_mean(clipped.float(), mask_BT)


def value_terms(
    values: Tensor, old: Tensor, returns: Tensor, *, clip: float
) -> tuple[Tensor, Tensor]:
    """Return each token's loss, and whether the clipped value is the one that counts."""
    bounded = torch.clamp(values, old - clip, old + clip)
    plain_loss, bounded_loss = (values - returns).square(), (bounded - returns).square()
    return 0.5 * torch.maximum(plain_loss, bounded_loss), bounded_loss > plain_loss


def kl_estimates(logprobs: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return k1 = log p - log q, k2 = k1²/2 and k3 = exp(-k1) - 1 + k1 of each token.

    p is the policy that the tokens were drawn from, q the reference; k1 may be negative, k3 never.
    """
    k1 = logprobs - reference
    return k1, k1.square() / 2, torch.expm1(-k1) + k1


def token_rewards(
    scores_B: Tensor, k1_BT: Tensor, mask_BT: Tensor, *, kl_coefficient: float
) -> Tensor:
    """Return each token's reward: the KL penalty everywhere, the score on the last token too."""
    rewards_BT = -kl_coefficient * k1_BT * mask_BT
    last_B1 = mask_BT.long().sum(1, keepdim=True) - 1
    return rewards_BT.scatter_add(1, last_B1, scores_B[:, None].to(rewards_BT.dtype))


def whiten(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return values of mean 0 and deviation 1 over the unmasked tokens, 0 elsewhere.

    The deviation is the unbiased one, as TRL's.
    """
    mean = masked_mean(values_BT, mask_BT)
    degrees = (mask_BT.sum() - 1).clamp_min(1)
    variance = ((values_BT - mean).square() * mask_BT).sum() / degrees
    return (values_BT - mean) * torch.rsqrt(variance + 1e-8) * mask_BT


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return 1 - Var(returns - values) / Var(returns): 1 is a perfect value model, 0 a constant."""

    def variance(x_BT: Tensor) -> Tensor:
        return masked_mean((x_BT - masked_mean(x_BT, mask_BT)).square(), mask_BT)

    return 1 - variance(returns_BT - values_BT) / variance(returns_BT).clamp_min(1e-8)


def masked_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean over the unmasked places, ()."""
    return (values_BT * mask_BT).sum() / mask_BT.sum()
