"""What one call of `openqwen instruct generate` is about, and the name and seed of each batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.agent.instruct.config import InstructConfig
from openqwen.agent.instruct.seeds import Seeds
from openqwen.agent.models import TextModel
from openqwen.agent.tools import Tool
from openqwen.core.seeds import seed_of

SEED_LIMIT = 2**31  # what endpoints take


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        model: writes the samples.
        seeds: people's, and the model's own of earlier rounds.
        config: settings.
        seed: of every draw.
        tools: those that can be executed.
    """

    model: TextModel
    seeds: Seeds
    config: InstructConfig
    seed: int = 0
    tools: Sequence[Tool] = ()

    def batch(self, round: int, kind: str, number: int) -> "Batch":
        """Return a batch; its language, ids and seed depend on its place alone."""
        language = self.config.languages[number % len(self.config.languages)]
        place = (self.seed, round, ("general", "tools").index(kind), number)
        return Batch(round, number, language, seed_of(*place) % SEED_LIMIT)

    def provenance(self, batch: "Batch") -> dict[str, Any]:
        """Return what all samples of a batch have in common."""
        return {
            "model": self.model.name,
            "seed": self.seed,
            "round": batch.round,
            "batch": batch.number,
        }


@dataclass(frozen=True)
class Batch:
    """One batch of prompts."""

    round: int
    number: int
    language: str
    seed: int

    def id(self, kind: str, place: int) -> str:
        """Return the id of the batch's raw sample at a place."""
        return f"r{self.round}-{kind}-{self.language}-{self.number:04}-{place:02}"
