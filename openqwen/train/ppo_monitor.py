"""The running score, and signs that a policy pleases the reward model but not the reader.

    monitor = HackingMonitor(config)
    flags = monitor.look(length=80.0, kl_a_response=3.1, repetition=0.05)

A flag is a warning and, by choice, the end of the run. None of the peers stops on one by itself.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.core.ngrams import ngrams
from openqwen.train.ppo_config import PPOConfig

BASELINE_STEPS = 3  # iterations whose mean length counts as the start
NGRAM = 4


class RunningScore:
    """Mean and deviation of all scores so far, for normalising the reward."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.count, self.total, self.squares = 0.0, 0.0, 0.0

    def add(self, scores_R: Tensor) -> None:
        """Take in an iteration's scores."""
        wide = scores_R.double()
        self.count += len(wide)
        self.total += float(wide.sum())
        self.squares += float(wide.square().sum())

    @property
    def mean(self) -> float:
        """Return the mean of all scores."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """Return their standard deviation, at least 1e-4."""
        variance = self.squares / self.count - self.mean**2 if self.count else 1.0
        return math.sqrt(max(variance, 1e-8))


class HackingMonitor:
    """Compares each iteration with the run's beginning and with fixed bounds."""

    def __init__(self, config: PPOConfig) -> None:
        """Start without a baseline."""
        self.config = config
        self._lengths: list[float] = []

    def look(self, *, length: float, kl_a_response: float, repetition: float) -> dict[str, str]:
        """Return what is wrong, kind and phrase; an empty dictionary where nothing is.

        Args:
            length: mean tokens of a response.
            kl_a_response: nats.
            repetition: share of repeated 4-grams.
        """
        if len(self._lengths) < BASELINE_STEPS:
            self._lengths.append(length)
        start = sum(self._lengths) / len(self._lengths)
        config = self.config
        found: dict[str, str] = {}
        if kl_a_response > config.kl_bound:
            found["KL"] = f"KL {kl_a_response:.1f} nats a response, above {config.kl_bound:g}"
        drift = max(length / start, start / length)
        if drift > config.length_drift_bound:
            found["length"] = f"mean length {length:.0f} tokens, {start:.0f} at the start"
        if repetition > config.repetition_bound:
            found["repetition"] = f"{100 * repetition:.0f} % of 4-grams repeat"
        return found

    def state(self) -> Tensor:
        """Return the baseline, for a checkpoint."""
        return torch.tensor(self._lengths, dtype=torch.float64)

    def load_state(self, lengths: Tensor) -> None:
        """Take over such a baseline."""
        self._lengths = lengths.tolist()


def repetition_share(responses: Sequence[Sequence[int]]) -> float:
    """Return the share of 4-grams that stood in the same response before."""
    total = repeated = 0
    for ids in responses:
        grams = list(ngrams(ids, NGRAM))
        total += len(grams)
        repeated += len(grams) - len(set(grams))
    return repeated / total if total else 0.0
