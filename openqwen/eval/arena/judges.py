"""Models that vote: a reward model by its scores, or a chat model asked which answer is better.

    votes = votes_of_reward_model(ballots, Path("runs/tiny/reward"))
    votes = votes_of_chat_model(ballots, model)

Their votes are marked as a model's. A chat model is asked twice a pair, with the sides changed,
and where it contradicts itself the pair is a tie: models favour a side.
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from openqwen.agent.models import Options, TextModel
from openqwen.core.workers import Workers
from openqwen.data.training.preferences import reply_ids
from openqwen.eval.arena.ballots import Ballot
from openqwen.eval.arena.votes import Vote
from openqwen.eval.reward_suite import score_ids
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.tokenizer import Tokenizer

MAX_SCORED_TOKENS = 2048
REPLY_TOKENS = 8
ASKED = """\
Which answer to the question helps the person who asked more? Reply with one letter, A or B.

[Question]
{question}

[Answer A]
{first}

[Answer B]
{second}

The better answer is:"""
_LETTER = re.compile(r"\b([AB])\b")


def votes_of_reward_model(ballots: Sequence[Ballot], directory: Path) -> list[Vote]:
    """Return a reward model's ranks; equal scores are ties.

    Raises:
        UserError: if the directory is no reward model.
    """
    scorer = read_checkpoint(directory).load_scorer()
    tokenizer = Tokenizer.from_file(directory)
    texts = []
    for ballot in ballots:
        prompt = render(ballot.prompt, tokenizer, add_generation_prompt=True).ids
        texts += [reply_ids(prompt, a, tokenizer, MAX_SCORED_TOKENS) for a in ballot.answers]
    with Workers() as workers:
        scores = iter(score_ids(scorer, texts, workers).tolist())
    return [
        Vote(b.id, f"model:{directory}", "model", ranks_of([next(scores) for _ in b.answers]))
        for b in ballots
    ]


def votes_of_chat_model(ballots: Sequence[Ballot], model: TextModel) -> list[Vote]:
    """Return a chat model's ranks, by the pairs that it prefers in both orders."""
    asked = [
        (number, i, j)
        for number, ballot in enumerate(ballots)
        for i, j in itertools.permutations(range(len(ballot.answers)), 2)
    ]
    prompts = [
        [{"role": "user", "content": _question(ballots[number], i, j)}] for number, i, j in asked
    ]
    replies = model.reply(prompts, Options(max_new_tokens=REPLY_TOKENS))
    points = [[0.0] * len(ballot.answers) for ballot in ballots]
    for (number, i, j), reply in zip(asked, replies, strict=True):
        said = _LETTER.search(reply.text)
        if said is None:  # no verdict is half for each
            points[number][i] += 0.5
            points[number][j] += 0.5
        else:
            points[number][i if said[1] == "A" else j] += 1
    return [
        Vote(ballot.id, f"model:{model.name}", "model", ranks_of(points[number]))
        for number, ballot in enumerate(ballots)
    ]


def ranks_of(scores: Sequence[float]) -> list[int]:
    """Return the rank of each score, 1 for the highest; equal scores share a rank."""
    order = sorted(set(scores), reverse=True)
    return [order.index(score) + 1 for score in scores]


def _question(ballot: Ballot, first: int, second: int) -> str:
    question = "\n".join(message["content"] for message in ballot.prompt)
    return ASKED.format(
        question=question, first=ballot.answers[first], second=ballot.answers[second]
    )
