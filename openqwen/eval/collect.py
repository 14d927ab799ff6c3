"""Collecting preferences: several models and samplings answer, people or a model judge (§3.2.1).

    candidates = answer_prompts(models, samplings, prompts, seed=0)
    pairs = pair_answers(candidates, seed=0)
    write_vote_page(out / "vote.html", pairs)             # for people; the page saves votes as JSON
    judged = judge_by_model(pairs, Path("runs/tiny/reward"))
    judged, account = read_votes(pairs, [Path("votes.json")])

Which model gave which answer is not on the page, and sides are drawn by chance.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openqwen.core.config import parse_config
from openqwen.core.documents import Message
from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_text
from openqwen.core.pages import page_environment
from openqwen.core.workers import Workers
from openqwen.data.training.preferences import reply_ids
from openqwen.eval.reward_suite import score_ids
from openqwen.infer.config import Sampling
from openqwen.infer.load import load
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.tokenizer import Tokenizer

VOTES_KIND = "openqwen votes"
CHOICES = ("left", "right", "tie", "skip")
MAX_SCORED_TOKENS = 2048


@dataclass(frozen=True)
class Candidate:
    """One answer to a prompt and who gave it."""

    prompt: int
    answer: str
    model: str
    sampling: str


@dataclass(frozen=True)
class Duel:
    """Two different answers to one prompt, sides drawn by chance."""

    id: str
    prompt: list[Message]
    left: Candidate
    right: Candidate


def parse_sampling(text: str) -> Sampling:
    """Return the settings that a text such as "temperature=0.7,top_p=0.9" names.

    Raises:
        UserError: if it can't be read.
    """
    settings: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        try:
            settings[name.strip()] = json.loads(value) if equals else True
        except ValueError:
            raise UserError(f"--sampling {text}: {value!r} is no number") from None
    return parse_config(Sampling, settings, where=f"--sampling {text}")


def answer_prompts(
    models: Sequence[Path],
    samplings: Sequence[str],
    prompts: Sequence[list[Message]],
    *,
    seed: int,
    max_new_tokens: int,
) -> list[Candidate]:
    """Return every model's answer to every prompt with every sampling; empty answers are left out.

    Raises:
        UserError: if a directory is no model, or a sampling can't be read.
    """
    settings = {text: parse_sampling(text) for text in samplings}
    found = []
    for path in models:
        lm = load(path)
        for place, (text, sampling) in enumerate(settings.items()):
            chosen = {name: getattr(sampling, name) for name in sampling.model_fields_set}
            chosen |= {"max_new_tokens": max_new_tokens, "seed": seed + 100_003 * place}
            for number, result in enumerate(lm.generate(list(prompts), **chosen)):
                if result.text.strip():
                    found.append(Candidate(number, result.text.strip(), str(path), text))
    return found


def pair_answers(
    candidates: Sequence[Candidate], prompts: Sequence[list[Message]], *, seed: int
) -> list[Duel]:
    """Return one pair of different answers a prompt, by models and samplings in turn.

    Prompts with fewer than two different answers are left out.
    """
    by_prompt: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if all(candidate.answer != other.answer for other in by_prompt[candidate.prompt]):
            by_prompt[candidate.prompt].append(candidate)
    duels = []
    for turn, (number, answers) in enumerate(sorted(by_prompt.items())):
        combinations = list(itertools.combinations(answers, 2))
        if not combinations:
            continue
        # answers of different origin first, then in turn
        combinations.sort(key=lambda two: two[0].model == two[1].model)
        apart = sum(one.model != other.model for one, other in combinations) or len(combinations)
        one, other = combinations[turn % apart]
        if np.random.default_rng([seed, 71, number]).random() < 0.5:
            one, other = other, one
        duels.append(Duel(f"{number:05}", prompts[number], one, other))
    return duels


def write_duels(path: Path, duels: Sequence[Duel]) -> None:
    """Write the pairs, origins included, as JSON Lines."""
    lines = (json.dumps(asdict(duel), ensure_ascii=False) + "\n" for duel in duels)
    write_text(path, "".join(lines))


def read_duels(path: Path) -> list[Duel]:
    """Read what `write_duels` wrote.

    Raises:
        UserError: if it is missing or of another form.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [
            Duel(row["id"], row["prompt"], Candidate(**row["left"]), Candidate(**row["right"]))
            for row in rows
        ]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give what `preferences collect` wrote") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what `preferences collect` wrote ({error!r})") from None


def write_vote_page(path: Path, duels: Sequence[Duel]) -> None:
    """Write one static page to vote on: no origins in it, nothing from outside, texts as text."""
    environment = page_environment(Path(__file__).parent)
    rows = [
        {"id": d.id, "prompt": d.prompt, "left": d.left.answer, "right": d.right.answer}
        for d in duels
    ]
    write_text(path, environment.get_template("vote.html").render(duels=rows, kind=VOTES_KIND))


def judge_by_model(duels: Sequence[Duel], judge: Path) -> list[dict[str, Any]]:
    """Return the pairs judged by a reward model's scores; equal scores are left out."""
    scorer = read_checkpoint(judge).load_scorer()
    tokenizer = Tokenizer.from_file(judge)
    texts = []
    for duel in duels:
        prompt = render(duel.prompt, tokenizer, add_generation_prompt=True).ids
        texts += [
            reply_ids(prompt, side.answer, tokenizer, MAX_SCORED_TOKENS)
            for side in (duel.left, duel.right)
        ]
    with Workers() as workers:
        scores = score_ids(scorer, texts, workers).tolist()
    rows = []
    for duel, left, right in zip(duels, scores[0::2], scores[1::2], strict=True):
        if left != right:
            found = {"score_chosen": max(left, right), "score_rejected": min(left, right)}
            rows.append(_judged(duel, left > right, f"model:{judge}") | found)
    return rows


def read_votes(
    duels: Sequence[Duel], files: Sequence[Path]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the pairs that people judged, by majority, and how they voted.

    Args:
        duels: what was voted on.
        files: what the page saved, one file a person; of several with one name the last vote on
            a pair counts.

    Returns:
        Judged pairs, and counts: votes, ties, skips, pairs judged, and among pairs with several
        left or right votes those in full agreement.

    Raises:
        UserError: if a file is not what the page saves, or speaks of other pairs.
    """
    known = {duel.id: duel for duel in duels}
    by_voter: dict[str, dict[str, str]] = {}
    for path in files:
        name, given = _votes_of(path)
        for id in given:
            if id not in known:
                raise UserError(f"{path}: there is no pair {id!r}; these votes are of another page")
        by_voter.setdefault(name, {}).update(given)
    votes: dict[str, list[str]] = defaultdict(list)
    for given in by_voter.values():
        for id, choice in given.items():
            votes[id].append(choice)
    counts = dict.fromkeys(("votes", "ties", "skips", "judged", "shared", "agreed"), 0)
    rows = []
    for id, choices in sorted(votes.items()):
        lefts, rights = choices.count("left"), choices.count("right")
        counts["votes"] += len(choices)
        counts["ties"] += choices.count("tie")
        counts["skips"] += choices.count("skip")
        counts["shared"] += lefts + rights > 1
        counts["agreed"] += lefts + rights > 1 and 0 in (lefts, rights)
        if lefts != rights:
            counts["judged"] += 1
            rows.append(_judged(known[id], lefts > rights, "people"))
    return rows, counts


def _votes_of(path: Path) -> tuple[str, dict[str, str]]:
    """Return who voted, the file itself where it has no name, and the votes."""
    data = read_json(path)
    votes = data.get("votes") if isinstance(data, dict) else None
    if not isinstance(votes, dict) or data.get("kind") != VOTES_KIND:
        raise UserError(f"{path} is no file of votes, as the page saves them")
    for id, choice in votes.items():
        if choice not in CHOICES:
            raise UserError(f"{path}: vote {choice!r} on {id}; a vote is one of {CHOICES}")
    by = data.get("by")
    name = str(by.get("name") or "") if isinstance(by, dict) else ""
    return name or f"file {path}", votes


def _judged(duel: Duel, left_wins: bool, judge: str) -> dict[str, Any]:
    better, worse = (duel.left, duel.right) if left_wins else (duel.right, duel.left)
    return {
        "id": duel.id,
        "prompt": duel.prompt,
        "chosen": better.answer,
        "rejected": worse.answer,
        "judge": judge,
        "models": [better.model, worse.model],
        "samplings": [better.sampling, worse.sampling],
    }
