"""Pairs of answers, one better than the other, in the forms people have (§3.2.1, Table 4).

    for pair in read_pairs([Path("pairs.jsonl")], set_aside=set_aside, validation_share=0.1): ...
    chosen, rejected = pair_ids(pair, tokenizer, max_tokens=512)      # both end with <|im_end|>

Read are: `prompt`, `chosen`, `rejected` as texts or messages; HH-RLHF's two dialogues; ShareGPT's
`conversations` with `chosen` and `rejected`; SHP's (`history`, `human_ref_A`, `human_ref_B`,
`labels`); Summarize's (`info`, `summaries`, `choice`).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import Message
from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.core.intervals import measured_share
from openqwen.data.draw import draw
from openqwen.data.inputs.origin import SetAside, open_unpacked
from openqwen.data.training.conversation_rows import BadRowError, messages_of, text
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.template import DEFAULT_SYSTEM
from openqwen.tokenizer.tokenizer import Tokenizer

_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}
SUFFIXES = (".json", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Pair:
    """A conversation that waits for an answer, and two of them; `split` train or validation."""

    id: str
    source: str
    prompt: list[Message]
    chosen: str
    rejected: str
    split: str = "train"
    tags: tuple[str, ...] = ()


def read_pairs(
    paths: Sequence[Path], *, set_aside: SetAside, seed: int = 0, validation_share: float = 0.0
) -> Iterator[Pair]:
    """Yield the pairs of files or folders; the file's name is the source.

    Args:
        paths: JSON, JSON Lines or Parquet, also gzipped.
        set_aside: gets the rows that are no pair, and pairs of two equal answers.
        seed: decides, with the prompt, which split a pair falls into: no prompt is on both sides.
        validation_share: share held out.

    Raises:
        UserError: if a path does not exist or is of another kind.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist; give a file of preference pairs")
        for file in list_files(path) if path.is_dir() else [path]:
            source = file.name.split(".")[0]
            for number, row in enumerate(read_rows_of(file, set_aside)):
                where = f"{source}/{number}"
                try:
                    prompt, chosen, rejected = pair_of(row)
                except BadRowError as error:
                    set_aside.add(str(error), where)
                    continue
                key = json.dumps(prompt, ensure_ascii=False)
                held = draw(seed, "pairs", key) < validation_share
                split = "validation" if held else "train"
                tags = row.get("tags")
                known = tuple(map(str, tags)) if isinstance(tags, list) else ()
                yield Pair(where, source, prompt, chosen, rejected, split, known)


def read_rows_of(path: Path, set_aside: SetAside) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON, JSON Lines or Parquet file; other rows are set aside.

    Raises:
        UserError: if the file is of another kind or can't be parsed at all.
    """
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind not in SUFFIXES:
        raise UserError(f"{path} is none of {', '.join(SUFFIXES)} (or those with .gz)")
    try:
        if kind == ".parquet":
            rows: Iterator[Any] = (
                r for b in pq.ParquetFile(path).iter_batches() for r in b.to_pylist()
            )
        else:
            with open_unpacked(path) as file:
                data = file.read().decode()
            rows = iter(_json_rows(data, path.name, set_aside))
        for number, row in enumerate(rows):
            if isinstance(row, dict):
                yield row
            else:
                set_aside.add("row is no object", f"{path.name}#{number}")
    except (pa.ArrowException, UnicodeDecodeError, EOFError, OSError) as error:
        raise UserError(f"{path} can't be read: {error}") from None


def _json_rows(data: str, name: str, set_aside: SetAside) -> list[Any]:
    """Return the rows of a JSON list, or of one object a line."""
    if data.lstrip().startswith("["):
        try:
            rows: list[Any] = json.loads(data)
            return rows
        except ValueError as error:
            raise UserError(f"{name} is no JSON list: {error}") from None
    rows = []
    for number, line in enumerate(data.splitlines()):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError:
                set_aside.add("not JSON", f"{name}#{number}")
    return rows


def pair_of(row: dict[str, Any]) -> tuple[list[Message], str, str]:
    """Return prompt, better and worse answer of one row.

    Raises:
        BadRowError: if it has none of the forms, an answer is empty or both are equal.
    """
    if "human_ref_A" in row:
        better, worse = "human_ref_A", "human_ref_B"
        if row.get("labels") != 1:
            better, worse = worse, better
        found = [_user(text("history", row.get("history")))], row[better], row[worse]
    elif isinstance(row.get("summaries"), list):
        found = _summarize(row)
    elif "chosen" not in row or "rejected" not in row:
        raise BadRowError("no chosen and rejected")
    elif row.get("score_chosen") is not None and row["score_chosen"] == row.get("score_rejected"):
        raise BadRowError("both answers have the same score")
    elif row.get("conversations") is not None or row.get("messages") is not None:
        plain = {
            k: v for k, v in row.items() if k in ("conversations", "messages", "system", "tools")
        }
        found = messages_of(plain), _answer(row["chosen"]), _answer(row["rejected"])
    elif row.get("prompt") is not None:
        prompt = row["prompt"]
        messages = (
            messages_of({"messages": prompt})
            if isinstance(prompt, list)
            else [_user(text("prompt", prompt))]
        )
        found = messages, _answer(row["chosen"]), _answer(row["rejected"])
    else:
        found = _two_dialogues(row["chosen"], row["rejected"])
    messages, chosen, rejected = found
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise BadRowError("the prompt does not end with the user's turn")
    chosen, rejected = text("chosen", chosen).strip(), text("rejected", rejected).strip()
    if not chosen or not rejected:
        raise BadRowError("empty answer")
    if chosen == rejected:
        raise BadRowError("both answers are the same")
    return messages, chosen, rejected


def measure_scores(
    pairs: Sequence[Pair], chosen: Sequence[float], rejected: Sequence[float]
) -> dict[str, Any]:
    """Return n, accuracy with its 95 % interval, and the control that prefers the longer answer.

    Args:
        pairs: at least one.
        chosen: the scores of their better answers.
        rejected: of their worse ones; ties count half.
    """
    n = len(pairs)
    won = sum((a > b) + 0.5 * (a == b) for a, b in zip(chosen, rejected, strict=True))
    lengths = [(len(pair.chosen), len(pair.rejected)) for pair in pairs]
    longer = sum((a > b) + 0.5 * (a == b) for a, b in lengths)
    return {"n": n, **measured_share("accuracy", won, n), "longer_wins": round(longer / n, 4)}


def pair_ids(pair: Pair, tokenizer: Tokenizer, max_tokens: int) -> tuple[list[int], list[int]]:
    """Return both conversations as ids that end with `<|im_end|>`, the token that is scored.

    A conversation of more than `max_tokens` loses its answer's end, but not the end token; if the
    prompt alone leaves less than half of the room, it first loses its beginning.
    """
    prompt = render(
        pair.prompt, tokenizer, add_generation_prompt=True, default_system=DEFAULT_SYSTEM
    ).ids
    chosen = reply_ids(prompt, pair.chosen, tokenizer, max_tokens)
    return chosen, reply_ids(prompt, pair.rejected, tokenizer, max_tokens)


def reply_ids(prompt: list[int], reply: str, tokenizer: Tokenizer, max_tokens: int) -> list[int]:
    """Return prompt ids and a reply, cut as `pair_ids` says, with the end token."""
    answer = tokenizer.encode(reply)
    room = max_tokens - 1
    if len(prompt) + len(answer) > room:
        prompt = prompt[-max(room - len(answer), room // 2) :]
        answer = answer[: room - len(prompt)]
    return [*prompt, *answer, tokenizer.im_end_id]


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _answer(value: Any) -> str:
    """Return an answer given as text, as one message, or as messages that end with it."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, dict):
        value = value.get("content", value.get("value"))
    return text("answer", value)


def _two_dialogues(chosen: Any, rejected: Any) -> tuple[list[Message], str, str]:
    """Return the common beginning and the last answers of two dialogues (HH-RLHF and others)."""
    better, worse = _dialogue(chosen), _dialogue(rejected)
    if len(better) < 2 or better[-1]["role"] != "assistant" or worse[-1]["role"] != "assistant":
        raise BadRowError("a dialogue that does not end with an answer")
    if better[:-1] != worse[:-1]:
        raise BadRowError("the two dialogues differ before their last answer")
    return better[:-1], better[-1]["content"], worse[-1]["content"]


def _dialogue(value: Any) -> list[Message]:
    if isinstance(value, list):
        return messages_of({"messages": value})
    parts = _HH_TURN.split(text("dialogue", value))
    if len(parts) < 3:
        raise BadRowError("a dialogue without turns")
    turns = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": _HH_ROLES[who], "content": said.strip()} for who, said in turns]


def _summarize(row: dict[str, Any]) -> tuple[list[Message], str, str]:
    try:
        texts = [text("summary", summary["text"]) for summary in row["summaries"]]
        choice = int(row["choice"])
        post = text("post", row["info"].get("post") or row["info"].get("article"))
        return [_user(f"Summarize:\n{post}")], texts[choice], texts[1 - choice]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise BadRowError("comparison of summaries of another form") from None
