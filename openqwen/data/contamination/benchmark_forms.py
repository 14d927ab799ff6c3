"""What of a benchmark's row must not be in training text: its question, choices and solution.

    texts_of_row({"question": "2 + 2 is", "choices": ["3", "4"], "answer": "B"})
    # ItemTexts(text="2 + 2 is\\n3\\n4", views=("2 + 2 is", "2 + 2 is\\nA. 3\\nB. 4"))

The names of MMLU, C-Eval, CMMLU, GSM8K, MATH, HumanEval, MBPP, BBH, ARC, PIQA, HellaSwag, BoolQ,
WinoGrande, AGIEval and Gaokao-Bench are known; of any other form all its strings count.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.core.errors import UserError

IDS = ("id", "task_id", "question_id", "idx", "ind", "index", "name")
CONTEXTS = ("passage", "context", "article", "background", "premise")
QUESTIONS = (
    *("question", "problem", "instruction", "input", "prompt", "text", "goal", "ctx", "query"),
    *("sentence", "stem", "hypothesis", "题目", "问题"),
)
CHOICES = ("choices", "options", "endings", "mc1_targets", "选项")
CHOICE_COLUMNS = re.compile(r"[A-H]|(?:answer|option|choice|sol|ending)_?[a-h0-9]")
SOLUTIONS = (
    *("canonical_solution", "solution", "code", "answer", "output", "target", "completion"),
    *("response", "answers", "rationale", "explanation", "analysis", "test", "tests", "test_list"),
    *("答案", "解析"),
)
# what a row of a known form says of itself
METADATA = frozenset(
    (
        *IDS,
        *("subject", "subset", "split", "split_type", "source", "source_id", "task", "level"),
        *("type", "year", "category", "label", "answerKey", "file", "language", "doctests"),
        *("original", "prompt_terminology", "stop_tokens", "entry_point", "activity_label"),
        *("canary", "url", "licence", "license"),
    )
)
_LETTER = re.compile(r"^\s*[(（]?[A-Ha-h][)）.．、:：]\s*")
_CALCULATION = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator


@dataclass(frozen=True, slots=True)
class ItemTexts:
    """The text of an item, and other forms of it or parts of it that pages carry."""

    text: str
    views: tuple[str, ...] = ()


def texts_of_row(row: dict[str, Any], fields: Sequence[str] = ()) -> ItemTexts:
    """Return what a row of a benchmark says.

    Args:
        row: one row, its values as JSON or Parquet gives them.
        fields: the fields to take, inner ones as "question.stem"; empty goes by their names.

    Raises:
        UserError: if the row has none of the fields, or no text at all.
    """
    if fields:
        taken = {name: list(_strings(_inner(row, name))) for name in fields}
        parts = ["\n".join(found) for found in taken.values() if found]
        if not parts:
            raise UserError(f"no text in {', '.join(fields)}; it has {', '.join(map(str, row))}")
        return _distinct("\n".join(parts), parts)
    views = row.get("views")
    if isinstance(views, list) and isinstance(row.get("text"), str):  # as the sources stage writes
        return _distinct(row["text"], [str(view) for view in views])
    question = row.get("question")
    if isinstance(question, dict):  # ARC
        row = {**row, "question": question.get("stem"), "choices": question.get("choices")}
    if any(isinstance(row.get(name), str) and row[name].strip() for name in QUESTIONS):
        return _known(row)
    parts = list(_strings({k: v for k, v in row.items() if k not in IDS}))
    if not parts:
        raise UserError("no text in it")
    return _distinct("\n".join(parts), parts)


def row_id(row: dict[str, Any]) -> str:
    """Return the id that a row gives itself, or ""."""
    for name in IDS:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def _known(row: dict[str, Any]) -> ItemTexts:
    """Return the texts of a row whose fields have names that say what they are."""
    context = _named(row, CONTEXTS)
    asked = _named(row, QUESTIONS)
    choices = _choices(row)
    solutions = _named(row, SOLUTIONS)
    others = _others(row)
    question = "\n".join((*context, *asked))
    text = "\n".join((question, *choices, *solutions))
    views = [question, *asked]
    if choices:
        bare = [_LETTER.sub("", choice) for choice in choices]
        views.append("\n".join((question, *bare)))
        lettered = (f"{chr(ord('A') + n)}. {choice}" for n, choice in enumerate(bare[:26]))
        views.append("\n".join((question, *lettered)))
    if "endings" in row:
        views += [f"{question} {choice}" for choice in choices]
    if _CALCULATION.search(text):
        views.append(_CALCULATION.sub("", text))
    return _distinct(text, [*views, *others])


def _choices(row: dict[str, Any]) -> list[str]:
    found = [text for name in CHOICES for text in _strings(row.get(name), numbers=True)]
    columns = [name for name in row if isinstance(name, str) and CHOICE_COLUMNS.fullmatch(name)]
    return found or _named(row, columns)


def _others(row: dict[str, Any]) -> list[str]:
    """Return long texts under names that are not known; short ones may say anything."""
    known = {*CONTEXTS, *QUESTIONS, *CHOICES, *SOLUTIONS} | METADATA
    rest = {k: v for k, v in row.items() if k not in known and not CHOICE_COLUMNS.fullmatch(str(k))}
    return [found for found in _strings(rest) if len(found) >= 100]


def _named(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [found for name in names for found in _strings(row.get(name))]


def _strings(value: Any, *, numbers: bool = False) -> Iterator[str]:
    """Yield the texts in a value, whatever holds them; a choice's label is none."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str | list) and "label" in value:
            yield from _strings(value["text"], numbers=numbers)
            return
        for inner in value.values():
            yield from _strings(inner, numbers=numbers)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner, numbers=numbers)
    elif numbers and isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _inner(row: dict[str, Any], name: str) -> Any:
    value: Any = row.get(name)
    if value is None and "." in name:
        first, _, rest = name.partition(".")
        inner = row.get(first)
        rows = inner if isinstance(inner, list) else [inner]
        return [_inner(item, rest) for item in rows if isinstance(item, dict)]
    return value


def _distinct(text: str, views: Sequence[str]) -> ItemTexts:
    return ItemTexts(text, tuple(dict.fromkeys(view for view in views if view and view != text)))
