"""Whether a task was solved, judged from what its session left behind.

    verdict = judge(task, evidence)
    verdict.correct, verdict.why

- `number`: the true number stands in the result of the execution *and* in the final response
  (Table 8); `decimals` says to how many it must be right. `numbers` asks the same of several,
  `texts` of texts.
- `figure`: one of the recorded figures is as asked (`openqwen/eval/interpreter/figures.py`).
- `files`: name -> what it must hold: `text` (equal up to white space at its ends), `lines`, `json`
  (equal), or `table` (rows of a csv file, numbers to one part in a million).
"""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openqwen.core.errors import UserError
from openqwen.eval.interpreter.figures import find_problem
from openqwen.eval.interpreter.numbers import has_number
from openqwen.eval.interpreter.task import Task

MAX_FILE_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Evidence:
    """What a session left behind.

    Attributes:
        result: what all calls printed and returned.
        final: the final response; "" where there was none.
        figures: records of the figures that were drawn, in order.
        images: PNG files, in order.
        read: returns a file of the session; raises `UserError` where there is none.
    """

    result: str
    final: str
    figures: Sequence[Any] = ()
    images: Sequence[bytes] = ()
    read: Callable[[str], bytes] | None = None


@dataclass(frozen=True)
class Judgement:
    """Right or not, and why not."""

    correct: bool
    why: str = field(default="")


def judge(task: Task, evidence: Evidence) -> Judgement:
    """Return whether everything that a task's check asks for holds."""
    for kind, asked in task.check.items():
        if kind not in _CHECKS:
            raise ValueError(f"task {task.id}: {kind!r} is no kind of check")
        problem = _CHECKS[kind](asked, evidence, task)
        if problem:
            return Judgement(False, problem)
    return Judgement(True)


def _check_number(asked: float, evidence: Evidence, task: Task) -> str | None:
    return _check_numbers([asked], evidence, task)


def _check_numbers(asked: Sequence[float], evidence: Evidence, task: Task) -> str | None:
    decimals = task.check.get("decimals")
    for number in asked:
        for where, text in (("result", evidence.result), ("final response", evidence.final)):
            if not has_number(text, number, decimals=decimals):
                return f"{number:g} does not stand in the {where}"
    return None


def _check_texts(asked: Sequence[str], evidence: Evidence, task: Task) -> str | None:
    for text in asked:
        for where, found in (("result", evidence.result), ("final response", evidence.final)):
            if _plain(text) not in _plain(found):
                return f"{text!r} does not stand in the {where}"
    return None


def _check_figure(asked: Mapping[str, Any], evidence: Evidence, task: Task) -> str | None:
    problem = "no figure was drawn"
    for record in reversed(evidence.figures):
        found = find_problem(asked, record)
        if found is None:
            return None
        problem = found
    return problem


def _check_files(asked: Mapping[str, Any], evidence: Evidence, task: Task) -> str | None:
    for name, holds in asked.items():
        try:
            data = evidence.read(name) if evidence.read else b""
        except UserError as error:
            return str(error)
        text = data.decode("utf-8-sig", "replace")[:MAX_FILE_CHARACTERS]
        for kind, wanted in holds.items():
            if not _FORMS[kind](text, wanted):
                return f"{name} does not hold the {kind} asked for"
    return None


def _holds_text(text: str, wanted: str) -> bool:
    return text.strip() == wanted.strip()


def _holds_lines(text: str, wanted: Sequence[str]) -> bool:
    return [line.strip() for line in text.strip().splitlines()] == list(wanted)


def _holds_json(text: str, wanted: Any) -> bool:
    try:
        return _equal(json.loads(text), wanted)
    except (ValueError, RecursionError):
        return False


def _holds_table(text: str, wanted: Sequence[Sequence[Any]]) -> bool:
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error:
        return False
    return len(rows) == len(wanted) and all(
        len(row) == len(want) and all(_cell(a, b) for a, b in zip(row, want, strict=True))
        for row, want in zip(rows, wanted, strict=True)
    )


def _cell(found: str, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return found.strip() == wanted
    try:
        return math.isclose(float(found), wanted, rel_tol=1e-6, abs_tol=1e-9)
    except ValueError:
        return False


def _equal(found: Any, wanted: Any) -> bool:
    """Return whether two JSON values are equal, numbers to one part in a million."""
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and set(found) == set(wanted)
            and all(_equal(found[name], value) for name, value in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_equal(a, b) for a, b in zip(found, wanted, strict=True))
        )
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        return bool(found == wanted)
    return (
        isinstance(found, int | float)
        and not isinstance(found, bool)
        and math.isclose(found, wanted, rel_tol=1e-6, abs_tol=1e-9)
    )


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _ignore(asked: Any, evidence: Evidence, task: Task) -> str | None:
    return None


_CHECKS: Mapping[str, Callable[[Any, Evidence, Task], str | None]] = {
    "number": _check_number,
    "numbers": _check_numbers,
    "decimals": _ignore,
    "texts": _check_texts,
    "figure": _check_figure,
    "files": _check_files,
}
_FORMS: Mapping[str, Callable[[str, Any], bool]] = {
    "text": _holds_text,
    "lines": _holds_lines,
    "json": _holds_json,
    "table": _holds_table,
}
