"""Seeds: what people wrote, shown to the model as examples and never written again.

    seeds = read_seeds([Path("seeds.jsonl"), Path("glaive_toolcall_zh_demo.json")], set_aside)
    seeds.tasks[0].instruction, seeds.requests[0].tools

Forms: Self-Instruct's seed tasks (`instruction`, `instances`), Alpaca (`instruction`, `input`,
`output`), ShareGPT and OpenAI conversations, those with tools too, and what `openqwen instruct
accept` wrote in an earlier round.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import find_row_files, read_raw_rows
from openqwen.data.training.conversation_rows import BadRowError, messages_of, text
from openqwen.data.training.tool_text import CLOSE, OPEN

ZH_SHARE = 0.3  # of letters that are Han, from which a text is taken for Chinese
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Task:
    """An instruction with its input, where it needs one, and an answer."""

    id: str
    language: str
    instruction: str
    input: str = ""
    output: str = ""

    @property
    def question(self) -> str:
        """Return what the user says: the input stands below the instruction."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


@dataclass(frozen=True)
class Request:
    """What a user asked who had tools.

    Attributes:
        id: file and row, or the sample's own.
        language: en or zh.
        query: the user's words.
        tools: names, descriptions and parameters as JSON schemas.
        used: the tool that answered it.
    """

    id: str
    language: str
    query: str
    tools: tuple[dict[str, Any], ...]
    used: str


@dataclass
class Seeds:
    """What the files hold; `own` are ids of tasks that a model made in an earlier round."""

    tasks: list[Task] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    own: set[str] = field(default_factory=set)
    max_round: int = 0

    def of(self, language: str) -> tuple[list[Task], list[Request]]:
        """Return the seeds in a language."""
        tasks = [task for task in self.tasks if task.language == language]
        return tasks, [request for request in self.requests if request.language == language]


def language_of(words: str) -> str:
    """Return zh where a good share of the letters is Han, else en."""
    letters = len(_LETTER.findall(words))
    return "zh" if letters and len(_HAN.findall(words)) >= ZH_SHARE * letters else "en"


def read_seeds(paths: Sequence[Path], set_aside: SetAside) -> Seeds:
    """Read seed files; rows that are none are set aside with a reason.

    Raises:
        UserError: if a path does not exist or no row is a seed.
    """
    seeds = Seeds()
    for path in find_row_files(list(paths)):
        for row in read_raw_rows(path, set_aside):
            where = f"{path.name.split('.')[0]}/{row.place}"
            try:
                _take(row.values, where, seeds)
            except BadRowError as error:
                set_aside.add(str(error), where)
    if not seeds.tasks and not seeds.requests:
        names = ", ".join(map(str, paths))
        raise UserError(f"{names}: no seed in it ({set_aside.summary() or 'no rows'})")
    return seeds


def _take(row: dict[str, Any], where: str, seeds: Seeds) -> None:
    provenance = row.get("provenance")
    if isinstance(provenance, dict):
        where = str(row.get("id", where))
        seeds.own.add(where)
        made_in = provenance.get("round", 0)
        seeds.max_round = max(seeds.max_round, made_in if isinstance(made_in, int) else 0)
        if provenance.get("kind") == "tools":
            query = text("query", provenance.get("query"))
            tools = _tools(provenance.get("tools"))
            used = text("used", provenance.get("used"))
            seeds.requests.append(Request(where, language_of(query), query, tools, used))
            return
    if row.get("instances") is not None:
        seeds.tasks.append(_seed_task(row, where))
        return
    if row.get("instruction") is not None:
        asked = text("instruction", row["instruction"]).strip()
        given = text("input", row.get("input") or "").strip()
        output = text("output", row.get("output") or "").strip()
        if not asked:
            raise BadRowError("empty instruction")
        seeds.tasks.append(Task(where, language_of(asked), asked, given, output))
        return
    messages = messages_of({k: v for k, v in row.items() if k != "tools"})
    turns = [m for m in messages if m["role"] != "system"]
    if not turns or turns[0]["role"] != "user":
        raise BadRowError("the first turn is not the user's")
    asked = turns[0]["content"].strip()
    tools = _tools(row.get("tools"))
    if tools:
        used = _called(turns[1]["content"]) if len(turns) > 1 else ""
        if used not in [tool["name"] for tool in tools]:
            raise BadRowError("tools, but the first answer calls none of them")
        seeds.requests.append(Request(where, language_of(asked), asked, tools, used))
        return
    answers = [m["content"].strip() for m in turns[1:2] if m["role"] == "assistant"]
    seeds.tasks.append(Task(where, language_of(asked), asked, "", "".join(answers)))


def _called(answer: str) -> str:
    """Return the name in an answer's first call, or ""."""
    found = re.search(rf"{OPEN}\s*(.*?)\s*{CLOSE}", answer, re.DOTALL)
    try:
        return str(json.loads(found.group(1))["name"]) if found else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _seed_task(row: dict[str, Any], where: str) -> Task:
    """Return a task of Self-Instruct's form, with its first instance."""
    asked = text("instruction", row.get("instruction")).strip()
    instances = row["instances"]
    if not asked or not isinstance(instances, list):
        raise BadRowError("seed task without instruction or instances")
    first = instances[0] if instances and isinstance(instances[0], dict) else {}
    given = text("input", first.get("input") or "").strip()
    output = text("output", first.get("output") or "").strip()
    return Task(str(row.get("id", where)), language_of(asked), asked, given, output)


def _tools(value: Any) -> tuple[dict[str, Any], ...]:
    """Return the tools of a row, each an object with a name; OpenAI's wrapping is taken off."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise BadRowError("tools is no JSON list") from None
    if not value:
        return ()
    if not isinstance(value, list):
        raise BadRowError("tools is no JSON list")
    found = [t.get("function", t) if isinstance(t, dict) else None for t in value]
    if not all(isinstance(t, dict) and isinstance(t.get("name"), str) for t in found):
        raise BadRowError("a tool without a name")
    return tuple(t for t in found if t is not None)
