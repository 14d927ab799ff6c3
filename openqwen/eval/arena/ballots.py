"""Ballots: one prompt and every model's answer to it, in an order that hides who wrote which.

prompts = read_prompts([Path("instructions.jsonl")], num=300, seed=0)
ballots = make_ballots(prompts, {"a": [...], "b": [...]}, seed=0)
write_ballots(out, ballots)             # ballots.jsonl with the names, vote.html without them
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openqwen.core.documents import Message
from openqwen.core.errors import UserError
from openqwen.core.files import write_text
from openqwen.core.pages import page_environment
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import find_row_files, read_raw_rows

BALLOTS_NAME, PAGE_NAME = "ballots.jsonl", "vote.html"
PAGE_KIND = "openqwen ranks"
MAX_ANSWERS = 8  # more nobody compares at once


@dataclass(frozen=True)
class Prompt:
    """What was asked, and the topic that results are counted by."""

    id: str
    topic: str
    messages: list[Message]


@dataclass(frozen=True)
class Ballot:
    """A prompt with answers in a drawn order.

    Attributes:
        id: unique on its page.
        topic: of the prompt, "" for none.
        prompt: the conversation up to the answer.
        models: who wrote each answer; not on the page.
        answers: in the same order.
    """

    id: str
    topic: str
    prompt: list[Message]
    models: list[str]
    answers: list[str]


def read_prompts(
    paths: Sequence[Path], *, num: int, seed: int, set_aside: SetAside
) -> list[Prompt]:
    """Return prompts drawn by the seed, topics as evenly as there are any.

    Rows have `messages`, or `prompt` or `instruction` (with `input`), and perhaps `topic` or
    `category`. Rows without a question are set aside.

    Raises:
        UserError: if a path does not exist, or no row holds a prompt.
    """
    by_topic: dict[str, list[Prompt]] = defaultdict(list)
    for path in find_row_files(list(paths)):
        for row in read_raw_rows(path, set_aside):
            messages = _question(row.values)
            if messages is None:
                set_aside.add("no prompt in it", f"{path.name}#{row.place}")
                continue
            topic = str(row.values.get("topic") or row.values.get("category") or "")
            by_topic[topic].append(Prompt(f"{path.name}#{row.place}", topic, messages))
    if not by_topic:
        raise UserError(f"{', '.join(map(str, paths))}: no row holds a prompt")
    rng = np.random.default_rng([seed, 83])
    waiting = {
        topic: [rows[i] for i in rng.permutation(len(rows))]
        for topic, rows in sorted(by_topic.items())
    }
    chosen: list[Prompt] = []
    while len(chosen) < num and any(waiting.values()):
        for rows in waiting.values():
            if rows and len(chosen) < num:
                chosen.append(rows.pop())
    return chosen


def _question(row: Mapping[str, Any]) -> list[Message] | None:
    """Return the messages up to the first answer."""
    listed = row.get("messages")
    if isinstance(listed, list):
        found: list[Message] = []
        for message in listed:
            if not isinstance(message, dict) or message.get("role") == "assistant":
                break
            role, content = message.get("role"), message.get("content")
            if role not in ("system", "user") or not isinstance(content, str):
                return None
            found.append({"role": role, "content": content})
        return found if found and found[-1]["role"] == "user" else None
    asked = row.get("prompt") or row.get("instruction")
    if not isinstance(asked, str) or not asked.strip():
        return None
    rest = row.get("input")
    text = f"{asked}\n{rest}" if isinstance(rest, str) and rest.strip() else asked
    return [{"role": "user", "content": text}]


def make_ballots(
    prompts: Sequence[Prompt], answers: Mapping[str, Sequence[str]], *, seed: int
) -> list[Ballot]:
    """Return a ballot a prompt; each has its own drawn order of answers.

    Args:
        prompts: in order.
        answers: model -> an answer a prompt.
        seed: of the orders.

    Raises:
        UserError: if there are fewer than two models, or more than a page can show.
    """
    if not 2 <= len(answers) <= MAX_ANSWERS:
        raise UserError(f"name 2 to {MAX_ANSWERS} different models, got {len(answers)}")
    names = list(answers)
    ballots = []
    for number, prompt in enumerate(prompts):
        order = np.random.default_rng([seed, 89, number]).permutation(len(names))
        models = [names[i] for i in order]
        texts = [answers[name][number].strip() for name in models]
        ballots.append(Ballot(f"{number:05}", prompt.topic, prompt.messages, models, texts))
    return ballots


def write_ballots(out: Path, ballots: Sequence[Ballot]) -> None:
    """Write the ballots with the models' names, and a page without them."""
    lines = (json.dumps(asdict(ballot), ensure_ascii=False) + "\n" for ballot in ballots)
    write_text(out / BALLOTS_NAME, "".join(lines))
    environment = page_environment(Path(__file__).parent)
    rows = [{"id": b.id, "prompt": b.prompt, "answers": b.answers} for b in ballots]
    page = environment.get_template("ballots.html").render(ballots=rows, kind=PAGE_KIND)
    write_text(out / PAGE_NAME, page)


def read_ballots(out: Path) -> list[Ballot]:
    """Read what `write_ballots` wrote.

    Raises:
        UserError: if it is missing or of another form.
    """
    path = out / BALLOTS_NAME
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Ballot(**row) for row in rows]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `openqwen arena collect` writes it") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not what `arena collect` wrote ({error!r})") from None
