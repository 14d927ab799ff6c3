"""Ratings from ranked answers: wins against a baseline, Elo, Bradley and Terry's model.

    games = games_of(ballots, votes)
    bradley_terry(games, ["a", "b"])                  # model -> rating, mean 1,000
    intervals(games, ["a", "b"], bradley_terry, seed=0)

Sources: the report's Figure 4 and A.2.2 (win, tie, loss against a baseline; Elo); Bradley & Terry
(1952) with Hunter's (2004) iteration; Elo's update with K = 32.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from openqwen.eval.arena.ballots import Ballot
from openqwen.eval.arena.votes import Vote

MEAN = 1000.0
SCALE = 400.0  # a difference of so much is odds of ten to one
K = 32.0
ELO_ORDERS = 50  # Elo depends on the order of games; its mean over drawn orders does not
RESAMPLES = 400
PRIOR = 0.1  # of a tie with every other model, so that who always wins has a finite rating
ROUNDS, CLOSE = 1000, 1e-9

Rating = Callable[["Sequence[Game]", Sequence[str], int], dict[str, float]]


@dataclass(frozen=True)
class Game:
    """Two answers to one prompt, as one annotator ranked them; `score` 1, ½ or 0 of the first."""

    ballot: str
    topic: str
    annotator: str
    first: str
    second: str
    score: float


def games_of(ballots: Sequence[Ballot], votes: Sequence[Vote]) -> list[Game]:
    """Return every pair of answers of every vote."""
    known = {ballot.id: ballot for ballot in ballots}
    games = []
    for vote in votes:
        ballot = known[vote.ballot]
        for i, j in itertools.combinations(range(len(ballot.models)), 2):
            gap = vote.ranks[j] - vote.ranks[i]
            score = 0.5 if gap == 0 else float(gap > 0)
            games.append(
                Game(
                    ballot.id,
                    ballot.topic,
                    vote.annotator,
                    ballot.models[i],
                    ballot.models[j],
                    score,
                )
            )
    return games


def bradley_terry(games: Sequence[Game], models: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Return the likeliest ratings, on Elo's scale with mean 1,000; a tie is half a win each.

    `seed` is not used; all ratings are called alike.
    """
    place = {model: i for i, model in enumerate(models)}
    count = len(models)
    wins_MM = np.full((count, count), PRIOR / 2)
    np.fill_diagonal(wins_MM, 0.0)
    for game in games:
        i, j = place[game.first], place[game.second]
        wins_MM[i, j] += game.score
        wins_MM[j, i] += 1 - game.score
    played_MM = wins_MM + wins_MM.T
    strength_M = np.ones(count)
    for _ in range(ROUNDS):
        total_MM = strength_M[:, None] + strength_M[None, :]
        next_M = wins_MM.sum(1) / (played_MM / total_MM).sum(1)
        next_M /= math.exp(np.log(next_M).mean())
        if np.abs(np.log(next_M / strength_M)).max() < CLOSE:
            strength_M = next_M
            break
        strength_M = next_M
    ratings_M = SCALE * np.log10(strength_M)
    return {m: MEAN + float(r - ratings_M.mean()) for m, r in zip(models, ratings_M, strict=True)}


def elo(games: Sequence[Game], models: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Return Elo ratings, the mean over orders of the games that the seed draws."""
    rng = np.random.default_rng([seed, 97])
    sums = dict.fromkeys(models, 0.0)
    for _ in range(ELO_ORDERS):
        rating = dict.fromkeys(models, MEAN)
        for i in rng.permutation(len(games)):
            game = games[i]
            gap = rating[game.second] - rating[game.first]
            change = K * (game.score - 1 / (1 + 10 ** (gap / SCALE)))
            rating[game.first] += change
            rating[game.second] -= change
        for model in models:
            sums[model] += rating[model] / ELO_ORDERS
    return sums


def intervals(
    games: Sequence[Game],
    models: Sequence[str],
    rate: Rating,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float]]:
    """Return each model's 95 % interval by a bootstrap over ballots (Efron 1979).

    Whole ballots are drawn, since the votes on one are not independent of each other.
    """
    by_ballot: dict[str, list[Game]] = defaultdict(list)
    for game in games:
        by_ballot[game.ballot].append(game)
    groups = list(by_ballot.values())
    rng = np.random.default_rng([seed, 101])
    drawn: dict[str, list[float]] = {model: [] for model in models}
    for round in range(resamples):
        chosen = rng.integers(0, len(groups), len(groups))
        again = [game for i in chosen for game in groups[i]]
        for model, rating in rate(again, models, seed + round).items():
            drawn[model].append(rating)
    return {
        model: (float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5)))
        for model, values in drawn.items()
    }
