"""What the votes say: wins, ties and losses by topic, agreement, ratings, as numbers and lines.

found = summarise(ballots, votes, baseline="runs/tiny/chat", seed=0)
for line in summary_lines(found): print(line)
"""

from collections.abc import Sequence
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.intervals import share_interval
from openqwen.eval.arena.agreement import agreement
from openqwen.eval.arena.ballots import Ballot
from openqwen.eval.arena.ratings import Game, bradley_terry, elo, games_of, intervals
from openqwen.eval.arena.votes import Vote


def summarise(
    ballots: Sequence[Ballot], votes: Sequence[Vote], *, baseline: str, seed: int
) -> dict[str, Any]:
    """Return all numbers, those of people and of models apart.

    Args:
        ballots: what was voted on.
        votes: of any annotators.
        baseline: the model that others are counted against; "" for the first.
        seed: of Elo's orders and the bootstrap.

    Raises:
        UserError: if nobody voted, or the baseline has no answer.
    """
    models = sorted({model for ballot in ballots for model in ballot.models})
    baseline = baseline or models[0]
    if baseline not in models:
        raise UserError(f"--baseline {baseline} has no answer; there are {', '.join(models)}")
    if not votes:
        raise UserError("nobody has voted yet: openqwen arena vote DIR ranks.json")
    by_kind = {}
    for kind in ("person", "model"):
        of_kind = [vote for vote in votes if vote.kind == kind]
        if of_kind:
            games = games_of(ballots, of_kind)
            by_kind[kind] = _numbers(games, of_kind, models, baseline, seed)
    return {"models": models, "baseline": baseline, "ballots": len(ballots), "seed": seed} | by_kind


def _numbers(
    games: Sequence[Game], votes: Sequence[Vote], models: Sequence[str], baseline: str, seed: int
) -> dict[str, Any]:
    others = [model for model in models if model != baseline]
    topics = sorted({game.topic for game in games if game.topic})
    ratings = {}
    for name, rate in (("bradley_terry", bradley_terry), ("elo", elo)):
        resamples = 400 if name == "bradley_terry" else 40  # Elo plays all games 50 times a round
        bounds = intervals(games, models, rate, seed=seed, resamples=resamples)
        ratings[name] = {
            model: {"rating": round(rating, 1), "interval": [round(x, 1) for x in bounds[model]]}
            for model, rating in rate(games, models, seed).items()
        }
    found = agreement(games)
    return {
        "votes": len(votes),
        "annotators": sorted({vote.annotator for vote in votes}),
        "against_baseline": {
            model: {
                topic or "all": against(games, model, baseline, topic) for topic in ("", *topics)
            }
            for model in others
        },
        "agreement": {"pairs": found.pairs, "share": found.share, "kappa": found.kappa},
        **ratings,
    }


def against(games: Sequence[Game], model: str, baseline: str, topic: str = "") -> dict[str, Any]:
    """Return a model's wins, ties and losses against another, votes counted one by one.

    The interval (Wilson, ties half) is over ballots, each with its annotators' mean verdict.
    """
    scores: dict[str, list[float]] = {}
    for game in games:
        if {game.first, game.second} == {model, baseline} and (not topic or game.topic == topic):
            score = game.score if game.first == model else 1 - game.score
            scores.setdefault(game.ballot, []).append(score)
    flat = [score for found in scores.values() for score in found]
    points = sum(sum(found) / len(found) for found in scores.values())
    found: dict[str, Any] = {
        "ballots": len(scores),
        "wins": flat.count(1.0),
        "ties": flat.count(0.5),
        "losses": flat.count(0.0),
    }
    if scores:
        low, high = share_interval(points, len(scores))
        found |= {
            "rate": round(points / len(scores), 4),
            "interval": [round(low, 4), round(high, 4)],
        }
        found["is_measurable"] = not low <= 0.5 <= high
    return found


def summary_lines(found: dict[str, Any]) -> list[str]:
    """Return tables in Markdown: wins against the baseline by topic, agreement, ratings."""
    lines = [f"{found['ballots']} ballots, seed {found['seed']}"]
    for kind, title in (("person", "people"), ("model", "models as judges, no people")):
        if kind not in found:
            continue
        numbers = found[kind]
        lines += [
            "",
            f"{title}: {numbers['votes']} votes of {', '.join(numbers['annotators'])}",
            "",
        ]
        lines.append(f"| against {found['baseline']} | topic | wins / ties / losses | rate, % | |")
        lines.append("|---|---|---|---|---|")
        for model, topics in numbers["against_baseline"].items():
            lines += [_row(model, topic, row) for topic, row in topics.items() if row["ballots"]]
        lines += ["", "| model | Bradley–Terry (95 %) | Elo (95 %) |", "|---|---|---|"]
        for model in found["models"]:
            cells = [_rating(numbers[name][model]) for name in ("bradley_terry", "elo")]
            lines.append(f"| {model} | {cells[0]} | {cells[1]} |")
        agreed = numbers["agreement"]
        if agreed["pairs"]:
            kappa = "–" if agreed["kappa"] is None else f"{agreed['kappa']:.2f}"
            lines += [
                "",
                f"agreement: {agreed['share']:.0%} of verdicts on {agreed['pairs']} pairs that "
                f"several judged, kappa {kappa}",
            ]
    return lines


def _row(model: str, topic: str, row: dict[str, Any]) -> str:
    low, high = (100 * x for x in row["interval"])
    finding = "" if row["is_measurable"] else "no measurable difference"
    return (
        f"| {model} | {topic} | {row['wins']} / {row['ties']} / {row['losses']} | "
        f"{100 * row['rate']:.0f} ({low:.0f} – {high:.0f}), n = {row['ballots']} | {finding} |"
    )


def _rating(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['rating']:,.0f} ({low:,.0f} – {high:,.0f})"
