"""Which of two models answers better: wins, ties, losses, with an interval (A.2.2, Figure 4).

result = win_rate(scores_of_ours, scores_of_theirs)
result.sentence("RLHF", "SFT")       # "RLHF wins 61 % of 64 …" or "no measurable difference …"
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openqwen.core.intervals import mean_interval, share_interval


@dataclass(frozen=True)
class WinRate:
    """Paired comparison of scores; ties count half in the rate.

    Attributes:
        n: prompts.
        wins: where the first is better.
        ties: where the scores lie within the margin.
        losses: where the second is better.
        rate: (wins + ties/2) / n.
        interval: 95 % interval of the rate (Wilson).
        difference: mean of first minus second score.
        half_width: of the difference's 95 % interval (paired, Student's t).
    """

    n: int
    wins: int
    ties: int
    losses: int
    rate: float
    interval: tuple[float, float]
    difference: float
    half_width: float

    @property
    def is_measurable(self) -> bool:
        """Return whether the rate's interval leaves out one half."""
        return not self.interval[0] <= 0.5 <= self.interval[1]

    def sentence(self, first: str, second: str) -> str:
        """Return the finding in words, n and interval in it."""
        low, high = (f"{100 * x:.0f}" for x in self.interval)
        numbers = (
            f"{first} wins {100 * self.rate:.0f} % against {second} (95 % interval {low} – {high} "
            f"%, n = {self.n}: {self.wins} wins, {self.ties} ties, {self.losses} losses)"
        )
        return numbers if self.is_measurable else f"no measurable difference: {numbers}"

    def as_json(self) -> dict[str, Any]:
        """Return all numbers, and whether there is a difference to be seen."""
        return asdict(self) | {"is_measurable": self.is_measurable}


def win_rate(
    first: Sequence[float], second: Sequence[float], *, tie_margin: float = 0.0
) -> WinRate:
    """Compare two models' scores of their answers to the same prompts.

    Args:
        first: a score a prompt.
        second: in the same order.
        tie_margin: scores no further apart are a tie.

    Raises:
        ValueError: if there is no prompt, or the two differ in number.
    """
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    wins = sum(gap > tie_margin for gap in gaps)
    losses = sum(gap < -tie_margin for gap in gaps)
    ties = len(gaps) - wins - losses
    difference, half_width = mean_interval(gaps)
    points = wins + 0.5 * ties
    return WinRate(
        len(gaps),
        wins,
        ties,
        losses,
        points / len(gaps),
        share_interval(points, len(gaps)),
        difference,
        half_width,
    )
