"""How far annotators agree: the share of equal verdicts on the same pairs, and beyond chance.

found = agreement(games)
found.share, found.kappa          # Fleiss' (1971) kappa with raters that differ in number
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from openqwen.eval.arena.ratings import Game

VERDICTS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Attributes:
        pairs: of answers that several annotators judged.
        share: of two drawn annotators' verdicts on a pair that are equal; None without such pairs.
        kappa: the same beyond chance; None where chance alone makes them equal.
    """

    pairs: int
    share: float | None
    kappa: float | None


def agreement(games: Sequence[Game]) -> Agreement:
    """Return how often annotators said the same (win, tie, loss) of the same two answers."""
    verdicts: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for game in games:
        first, second, score = game.first, game.second, game.score
        if first > second:
            first, second, score = second, first, 1 - score
        verdicts[game.ballot, first, second].append(score)
    shared = [found for found in verdicts.values() if len(found) > 1]
    if not shared:
        return Agreement(0, None, None)
    equal = [
        sum(n * (n - 1) for n in (found.count(v) for v in VERDICTS))
        / (len(found) * (len(found) - 1))
        for found in shared
    ]
    share = sum(equal) / len(equal)
    total = sum(len(found) for found in shared)
    chance = sum((sum(found.count(v) for found in shared) / total) ** 2 for v in VERDICTS)
    kappa = None if chance == 1 else (share - chance) / (1 - chance)
    return Agreement(len(shared), share, kappa)
