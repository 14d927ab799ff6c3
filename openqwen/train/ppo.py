"""PPO with four models: policy, value, reference and reward (§3.2.2).

    trainer = PPOTrainer(config, models, prompts, held_out, windows, vocabulary=…, seed=0, …)
    run_loop("chat-rlhf", trainer, settings, out)

One step is one iteration: sample responses, score them, then update value and policy. During the
warm-up only the value model learns. Everything random is a function of seed and step, so a killed
run ends with the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openqwen.core.intervals import mean_interval
from openqwen.core.log import warn
from openqwen.core.seeds import generator_for, seed_of
from openqwen.core.workers import Workers
from openqwen.data.training.loader import TokenWindows
from openqwen.train.engine import open_optimiser
from openqwen.train.guard import Guard
from openqwen.train.losses import linear_token_loss
from openqwen.train.ppo_batch import (
    Advantages,
    Experience,
    Models,
    States,
    advantages_of,
    measure,
    parts_of,
    response_states,
    score_responses,
)
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.ppo_losses import (
    clipped_policy_terms,
    explained_variance,
    is_clipped,
    masked_mean,
    value_terms,
)
from openqwen.train.ppo_monitor import HackingMonitor, RunningScore, repetition_share
from openqwen.train.rollout import Rollouts, Vocabulary, sample_responses
from openqwen.train.schedule import learning_rate_at
from openqwen.train.statistics import activation_statistics
from openqwen.train.step import next_token_loss, optimise
from openqwen.train.texts import pack_texts

QUERIES, SAMPLES, SHUFFLE, HELD_OUT = 31, 37, 41, 43  # purposes of seeds


@dataclass(frozen=True)
class PolicyPart:
    """One micro-batch of the policy's update: states, and a row of numbers for each token."""

    states: States
    old_N: Tensor
    advantages_N: Tensor


class PPOTrainer:
    """One iteration a step, on prompts drawn by seed and step."""

    def __init__(
        self,
        config: PPOConfig,
        models: Models,
        prompts: Sequence[list[int]],
        held_out: Sequence[list[int]],
        *,
        windows: TokenWindows | None,
        vocabulary: Vocabulary,
        seed: int,
        dtype: torch.dtype,
        workers: Workers,
    ) -> None:
        """Take float32 models; policy and value compute in `dtype` from here on, as do the rest.

        Args:
            config: the settings.
            models: policy and value are trained, reference and reward only asked.
            prompts: queries as ids that end with the assistant's header.
            held_out: queries that are answered in `evaluate` only.
            windows: pretraining text for the pretraining-gradient term, or None without it.
            vocabulary: ids that may be drawn and that end a response.
            seed: of all draws.
            dtype: compute type.
            workers: the threads.
        """
        self.config, self.models, self.workers, self.seed = config, models, workers, seed
        self.prompts, self.held_out, self.windows = list(prompts), list(held_out), windows
        self.vocabulary = vocabulary
        self.guard = Guard(config.guard)
        self.policy_optimiser = open_optimiser(models.policy, config, compute_dtype=dtype)
        self.value_optimiser = open_optimiser(models.value, config, compute_dtype=dtype)
        models.reference.to(dtype)
        if isinstance(models.reward, torch.nn.Module):
            models.reward.to(dtype)
        self.running, self.monitor = RunningScore(), HackingMonitor(config)
        self.stop_reason = ""
        self._flagged: set[str] = set()
        self._epoch_order: tuple[int, list[int]] | None = None
        self.num_responses = config.queries_per_step * config.responses_per_query
        self.tokens_per_step = self.num_responses * config.max_new_tokens

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Sample, score and update once; return everything worth a plot."""
        config = self.config
        prompts = self._queries(step)
        rollouts = self._sample(prompts, SAMPLES, step)
        experience = measure(
            self.models,
            prompts,
            rollouts,
            end_id=self.vocabulary.end_id,
            micro_responses=config.micro_responses,
            workers=self.workers,
        )
        self.running.add(experience.scores_R)
        scores_R = experience.scores_R - self.running.mean
        if config.scale_reward:
            scores_R = scores_R / self.running.deviation
        cut_R = 1 - torch.tensor(rollouts.ended, dtype=torch.float32)
        scores_R = scores_R - config.missing_end_penalty * cut_R
        learnt, k1_RT, k3_RT = advantages_of(experience, scores_R, config)
        found = self._update(step, experience, learnt)
        mask_RT = experience.mask_RT
        row: dict[str, Tensor | float] = {
            "score": experience.scores_R.mean(),
            "score_deviation": experience.scores_R.std(),
            "reward": learnt.rewards_RT.sum(1).mean(),
            "running_mean": self.running.mean,
            "kl_k1": masked_mean(k1_RT, mask_RT),
            "kl_k3": masked_mean(k3_RT, mask_RT),
            "kl_response": (k1_RT * mask_RT).sum(1).mean(),
            "entropy": masked_mean(experience.entropy_RT, mask_RT),
            "length": mask_RT.sum(1).mean(),
            "no_end_share": cut_R.mean(),
            "kept_mass": rollouts.kept_mass,
            "repetition": repetition_share(rollouts.responses),
            "explained_variance": explained_variance(
                experience.values_RT, learnt.returns_RT, mask_RT
            ),
        }
        row |= found
        row["flags"] = float(self._look_out(step, row))
        return row

    def evaluate(self) -> dict[str, Any]:
        """Return the mean score of responses to held-out queries, with its interval."""
        if len(self.held_out) < 2:
            return {"n": 0}
        rollouts = self._sample(self.held_out, HELD_OUT, 0)
        scores = score_responses(
            self.models.reward,
            self.held_out,
            rollouts,
            end_id=self.vocabulary.end_id,
            micro_responses=self.config.micro_responses,
            workers=self.workers,
        ).tolist()
        mean, half = mean_interval(scores)
        length = sum(map(len, rollouts.responses)) / len(scores)
        return {"n": len(scores), "score": mean, "half_width": half, "length": length}

    def documents(self, step: int) -> list[str]:
        """Return the numbers of a step's queries among those that training answers."""
        return [f"query {number}" for number in self._query_numbers(step)]

    def activations(self, step: int) -> dict[str, dict[str, float]]:
        """Measure the policy's residual stream on a step's first queries."""
        numbers = self._query_numbers(step)[: self.config.micro_responses]
        batch = pack_texts([self.prompts[number] for number in numbers])
        policy = self.models.policy
        mapper = self.policy_optimiser.spread(self.workers)
        return activation_statistics(policy, lambda: batch.hidden(policy), mapper)

    def state(self) -> dict[str, Tensor]:
        """Return both optimisers' states, the running score and the monitor's baseline."""
        tensors = {f"policy.{name}": t for name, t in self.policy_optimiser.state().items()}
        tensors |= {f"value.{name}": t for name, t in self.value_optimiser.state().items()}
        running = (self.running.count, self.running.total, self.running.squares)
        tensors["running"] = torch.tensor(running, dtype=torch.float64)
        tensors["monitor"] = self.monitor.state()
        tensors["stop_reason"] = torch.tensor(list(self.stop_reason.encode()), dtype=torch.uint8)
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over such a state."""
        for prefix, optimiser in (
            ("policy.", self.policy_optimiser),
            ("value.", self.value_optimiser),
        ):
            own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            optimiser.load_state(own)
        self.running.count, self.running.total, self.running.squares = tensors["running"].tolist()
        self.monitor.load_state(tensors["monitor"])
        self.stop_reason = bytes(tensors["stop_reason"].tolist()).decode()

    def _queries(self, step: int) -> list[list[int]]:
        """Return one step's queries, each as often as it is answered."""
        copies = range(self.config.responses_per_query)
        return [self.prompts[number] for number in self._query_numbers(step) for _ in copies]

    def _query_numbers(self, step: int) -> list[int]:
        size = self.config.queries_per_step
        places = [divmod(p, len(self.prompts)) for p in range(step * size, (step + 1) * size)]
        return [self._order(epoch)[index] for epoch, index in places]

    def _order(self, epoch: int) -> list[int]:
        """Return an epoch's order of the queries; the last one asked for is kept."""
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            generator = generator_for(self.seed, QUERIES, epoch)
            order = torch.randperm(len(self.prompts), generator=generator).tolist()
            self._epoch_order = (epoch, order)
        return self._epoch_order[1]

    def _sample(self, prompts: list[list[int]], purpose: int, step: int) -> Rollouts:
        return sample_responses(
            self.models.policy,
            prompts,
            seeds=[seed_of(self.seed, purpose, step, i) for i in range(len(prompts))],
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            vocabulary=self.vocabulary,
            workers=self.workers,
        )

    def _update(
        self, step: int, experience: Experience, learnt: Advantages
    ) -> dict[str, Tensor | float]:
        """Pass over the responses in minibatches; return means of what the updates measured."""
        config = self.config
        size = self.num_responses // config.num_minibatches
        rows: list[dict[str, float]] = []
        for epoch in range(config.num_epochs):
            generator = generator_for(self.seed, SHUFFLE, step, epoch)
            order = torch.randperm(self.num_responses, generator=generator).tolist()
            for number in range(config.num_minibatches):
                chosen = sorted(order[number * size : (number + 1) * size])
                row = self._update_value(step, experience, learnt, chosen)
                if step >= config.value_warmup_steps:
                    place = (step * config.num_epochs + epoch) * config.num_minibatches + number
                    row |= self._update_policy(step, experience, learnt, chosen, place)
                rows.append(row)
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        means["loss"] = means["value_loss"] + means.get("policy_loss", 0.0)
        return dict(means)

    def _update_value(
        self, step: int, experience: Experience, learnt: Advantages, chosen: list[int]
    ) -> dict[str, float]:
        config, value, clip = self.config, self.models.value, self.config.value_clip
        num_tokens = sum(len(experience.responses[i]) for i in chosen)

        def loss_of(part: tuple[list[int], States]) -> tuple[Tensor, tuple[float, float]]:
            rows, states = part
            old_N, returns_N = (
                _flat(table, experience, rows)
                for table in (experience.values_RT, learnt.returns_RT)
            )
            values_N = value.read(response_states(value, states)).cpu()
            terms_N, clipped_N = value_terms(values_N, old_N, returns_N, clip=clip)
            loss = terms_N.sum() / num_tokens
            return loss, (float(loss.detach()), float(clipped_N.sum()) / num_tokens)

        rate = learning_rate_at(step, self.config, peak=self.config.value_learning_rate)
        found, norm = optimise(
            self.value_optimiser,
            loss_of,
            parts_of(experience, chosen, config.micro_responses),
            learning_rate=rate,
            workers=self.workers,
            accept=lambda kept, norm: self.guard.accepts(
                sum(loss for loss, _ in kept), norm, update="value"
            ),
        )
        return {
            "value_loss": sum(loss for loss, _ in found),
            "value_clip_fraction": sum(clipped for _, clipped in found),
            "value_gradient_norm": float(norm),
            "value_learning_rate": rate,
        }

    def _update_policy(
        self, step: int, experience: Experience, learnt: Advantages, chosen: list[int], place: int
    ) -> dict[str, float]:
        config = self.config
        num_tokens = sum(len(experience.responses[i]) for i in chosen)
        items: list[PolicyPart | tuple[Tensor, Tensor]] = [
            PolicyPart(
                states,
                _flat(experience.log_probs_RT, experience, rows),
                _flat(learnt.advantages_RT, experience, rows),
            )
            for rows, states in parts_of(experience, chosen, config.micro_responses)
        ]
        text = self._pretraining_windows(num_tokens, len(chosen), place)
        items += text
        text_tokens = sum(targets_BT.numel() for _, targets_BT in text)

        def loss_of(item: PolicyPart | tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
            if isinstance(item, PolicyPart):
                return self._policy_loss(item, num_tokens)
            nll = next_token_loss(self.models.policy, *item) / text_tokens
            return config.pretraining_coefficient * nll, {"pretraining_loss": float(nll.detach())}

        rate = learning_rate_at(step, config)
        found, norm = optimise(
            self.policy_optimiser,
            loss_of,
            items,
            learning_rate=rate,
            workers=self.workers,
            accept=lambda kept, norm: self.guard.accepts(
                sum(part.get("policy_loss", 0.0) for part in kept), norm, update="policy"
            ),
        )
        names = ["policy_loss", "policy_clip_fraction", "approximate_kl"]
        names += ["pretraining_loss"] if text else []
        row = {name: sum(part.get(name, 0.0) for part in found) for name in names}
        row["ratio_max"] = max(part.get("ratio_max", 0.0) for part in found)
        return row | {"gradient_norm": float(norm), "learning_rate": rate}

    def _policy_loss(self, part: PolicyPart, num_tokens: int) -> tuple[Tensor, dict[str, float]]:
        policy, clip = self.models.policy, self.config.policy_clip

        def token_loss(log_probs_N: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            return clipped_policy_terms(
                log_probs_N,
                part.old_N[rows].to(log_probs_N),
                part.advantages_N[rows].to(log_probs_N),
                clip=clip,
            )

        hidden_ND = response_states(policy, part.states)
        targets_N = part.states.targets_N.to(hidden_ND.device)
        total, log_probs_N = linear_token_loss(
            hidden_ND, policy.lm_head.weight, targets_N, token_loss
        )
        change_N = log_probs_N.cpu() - part.old_N
        ratio_N = change_N.exp()
        clipped_N = is_clipped(ratio_N, part.advantages_N, clip=clip)
        return total / num_tokens, {
            "policy_loss": float(total.detach()) / num_tokens,
            "policy_clip_fraction": float(clipped_N.sum()) / num_tokens,
            "approximate_kl": float((torch.expm1(change_N) - change_N).sum()) / num_tokens,
            "ratio_max": float(ratio_N.max()),
        }

    def _pretraining_windows(
        self, num_tokens: int, num_responses: int, place: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Return windows of pretraining text for one update, in micro-batches."""
        config, windows = self.config, self.windows
        if windows is None or not config.pretraining_coefficient:
            return []
        length = windows.context_length
        wanted = max(1, round(config.pretraining_ratio * num_tokens / length))
        most = max(
            1, -(-round(config.pretraining_ratio * num_responses * config.max_new_tokens) // length)
        )
        inputs_BT, targets_BT = windows.batch(place * most, min(wanted, most))
        device = self.models.policy.lm_head.weight.device
        size = config.micro_responses
        return list(
            zip(inputs_BT.to(device).split(size), targets_BT.to(device).split(size), strict=True)
        )

    def _look_out(self, step: int, row: dict[str, Tensor | float]) -> int:
        """Warn of signs of reward hacking; by choice they end the run."""
        flags = self.monitor.look(
            length=float(row["length"]),
            kl_a_response=float(row["kl_response"]),
            repetition=float(row["repetition"]),
        )
        for kind, phrase in flags.items():
            if kind not in self._flagged:  # said once, until it has been well again
                warn(f"iteration {step + 1}: the policy may be hacking the reward: {phrase}")
        self._flagged = set(flags)
        if flags and self.config.stop_on_flag:
            self.stop_reason = f"iteration {step + 1}: {'; '.join(flags.values())}"
        return len(flags)


def _flat(table_RT: Tensor, experience: Experience, rows: list[int]) -> Tensor:
    """Return the response tokens' numbers of some rows, one after the other."""
    return torch.cat([table_RT[i, : len(experience.responses[i])] for i in rows])
