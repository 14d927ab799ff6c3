"""What one iteration of PPO learns from: responses, their log-probabilities, values and rewards.

experience = measure(models, queries, rollouts, …)     # no gradients
micro = states_of(experience.texts …)                  # where the response tokens' states stand
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.core.workers import Workers
from openqwen.data.training.packing import chunks_by_length
from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import token_log_probs, token_losses
from openqwen.model.scorer import Scorer
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.ppo_losses import gae, kl_estimates, token_rewards, whiten
from openqwen.train.reward import score_texts
from openqwen.train.rollout import Rollouts
from openqwen.train.texts import TextBatch, pack_texts

# prompts and responses, ids each, to one score a response
RewardFunction = Callable[[Sequence[list[int]], Sequence[list[int]]], Sequence[float]]


@dataclass(frozen=True)
class Models:
    """The four of PPO; the reward model may be a function instead."""

    policy: Decoder
    value: Scorer
    reference: Decoder
    reward: Scorer | RewardFunction


@dataclass(frozen=True)
class Experience:
    """One iteration's responses; tensors are (R, T), a row's response tokens from column 0 on."""

    prompts: list[list[int]]
    responses: list[list[int]]
    mask_RT: Tensor
    log_probs_RT: Tensor  # of the policy that sampled
    reference_RT: Tensor  # of the SFT model
    entropy_RT: Tensor
    values_RT: Tensor
    scores_R: Tensor  # as the reward model gave them

    @property
    def num_tokens(self) -> int:
        """Return the response tokens of all rows."""
        return sum(map(len, self.responses))


@dataclass(frozen=True)
class Advantages:
    """What the updates need, (R, T) each."""

    advantages_RT: Tensor
    returns_RT: Tensor
    rewards_RT: Tensor


@dataclass(frozen=True)
class States:
    """Packed texts, and for each response token the place of the state before it."""

    batch: TextBatch
    rows_N: Tensor
    columns_N: Tensor
    targets_N: Tensor


def states_of(prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> States:
    """Pack prompts with their responses; state t-1 is what token t is predicted from."""
    batch = pack_texts([[*p, *r] for p, r in zip(prompts, responses, strict=True)])
    rows, columns = [], []
    for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start = int(batch.starts[index]) + len(prompt) - 1
        rows.append(batch.rows[index].expand(len(response)))
        columns.append(torch.arange(start, start + len(response)))
    targets_N = torch.tensor([token for response in responses for token in response])
    return States(batch, torch.cat(rows), torch.cat(columns), targets_N)


def parts_of(
    experience: Experience, chosen: list[int], size: int
) -> list[tuple[list[int], States]]:
    """Return micro-batches of `size` responses of like length, with their packed texts."""
    prompts, responses = experience.prompts, experience.responses
    lengths = [len(prompts[i]) + len(responses[i]) for i in chosen]
    parts = [[chosen[place] for place in chunk] for chunk in chunks_by_length(lengths, size)]
    return [
        (part, states_of([prompts[i] for i in part], [responses[i] for i in part]))
        for part in parts
    ]


def response_states(model: Decoder | Scorer, states: States) -> Tensor:
    """Return the states before each response token, (N, D), row after row."""
    hidden_BTD = states.batch.hidden(model)
    device = hidden_BTD.device
    return hidden_BTD[states.rows_N.to(device), states.columns_N.to(device)]


@torch.no_grad()
def measure(
    models: Models,
    prompts: list[list[int]],
    rollouts: Rollouts,
    *,
    end_id: int,
    micro_responses: int,
    workers: Workers,
) -> Experience:
    """Return log-probabilities, entropies, values and scores of sampled responses.

    Args:
        models: the four.
        prompts: one a response.
        rollouts: the responses.
        end_id: the token a score is read at; put in place of another stop, or behind a cut.
        micro_responses: responses a forward pass.
        workers: the threads.
    """
    responses = rollouts.responses
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    chunks = chunks_by_length(lengths, micro_responses)

    def look(chunk: list[int]) -> tuple[Tensor, ...]:
        states = states_of([prompts[i] for i in chunk], [responses[i] for i in chunk])
        policy, reference = models.policy, models.reference
        targets_N = states.targets_N.to(policy.lm_head.weight.device)
        found = token_log_probs(response_states(policy, states), policy.lm_head.weight, targets_N)
        losses_N = token_losses(
            response_states(reference, states), reference.lm_head.weight, targets_N
        )
        values_N = models.value.read(response_states(models.value, states))
        return *found, -losses_N, values_N

    shape = (len(prompts), max(map(len, responses)))
    log_probs, entropy, reference, values = (torch.zeros(shape) for _ in range(4))
    mask = torch.zeros(shape)
    for chunk, found in zip(chunks, workers.map(look, chunks), strict=True):
        sizes = [len(responses[i]) for i in chunk]
        for table, flat_N in zip((log_probs, entropy, reference, values), found, strict=True):
            for i, part in zip(chunk, flat_N.cpu().split(sizes), strict=True):
                table[i, : len(part)] = part
    for i, response in enumerate(responses):
        mask[i, : len(response)] = 1
    scores_R = score_responses(
        models.reward,
        prompts,
        rollouts,
        end_id=end_id,
        micro_responses=micro_responses,
        workers=workers,
    )
    return Experience(prompts, responses, mask, log_probs, reference, entropy, values, scores_R)


@torch.no_grad()
def score_responses(
    reward: Scorer | RewardFunction,
    prompts: list[list[int]],
    rollouts: Rollouts,
    *,
    end_id: int,
    micro_responses: int,
    workers: Workers,
) -> Tensor:
    """Return the score of each response, (R,) float32 on the CPU."""
    if not isinstance(reward, Scorer):
        return torch.tensor([float(s) for s in reward(prompts, rollouts.responses)])
    spoken = [
        response[:-1] if ended else response
        for response, ended in zip(rollouts.responses, rollouts.ended, strict=True)
    ]
    texts = [[*p, *r, end_id] for p, r in zip(prompts, spoken, strict=True)]
    chunks = chunks_by_length([len(text) for text in texts], micro_responses)
    scores_R = torch.zeros(len(texts))
    scored = workers.map(lambda chunk: score_texts(reward, [texts[i] for i in chunk]), chunks)
    for chunk, found in zip(chunks, scored, strict=True):
        scores_R[chunk] = found.float().cpu()
    return scores_R


def advantages_of(
    experience: Experience, scores_R: Tensor, config: PPOConfig
) -> tuple[Advantages, Tensor, Tensor]:
    """Return advantages and returns, and the estimates k1 and k3 of the KL, (R, T) each.

    Args:
        experience: what was sampled and measured.
        scores_R: scores after normalisation and penalties.
        config: coefficients.
    """
    mask_RT = experience.mask_RT
    k1_RT, _, k3_RT = kl_estimates(experience.log_probs_RT, experience.reference_RT)
    rewards_RT = token_rewards(scores_R, k1_RT, mask_RT, kl_coefficient=config.kl_coefficient)
    advantages_RT, returns_RT = gae(
        rewards_RT, experience.values_RT, mask_RT, gamma=config.gamma, lam=config.gae_lambda
    )
    if config.whiten_advantages:
        advantages_RT = whiten(advantages_RT, mask_RT)
    return Advantages(advantages_RT, returns_RT, rewards_RT), k1_RT, k3_RT
