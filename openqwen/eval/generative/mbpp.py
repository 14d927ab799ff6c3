"""MBPP: small Python tasks in a sentence, each with three tests (Austin et al. 2021).

    built = mbpp(TASKS["mbpp"], setting, shots=3)

The 500 problems of the test part, numbers 11 to 510. Base models see solved examples and go on in
the same form, as in the field's harness; chat models go on in a code block that is begun for them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.code_text import BEGIN_BLOCK, END_BLOCK, code_block, with_opening
from openqwen.eval.generative.judge import Judge, Program, scored_by_tests, with_tests
from openqwen.eval.generative.stock import hub_rows, stock_definition, stock_examples
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

NAME = "mbpp"
TEST_PART = range(11, 511)
MAX_NEW_TOKENS = 256
CHAT_PROMPT = (
    "{{text}} Your code must pass these tests:\n\n```python\n{{test_list | join('\n')}}\n```\n\n"
    "Answer with the whole function in one code block."
)
NO_PROBLEM = "no text or no tests"
OTHER_PART = "not in the test part"


def mbpp(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build MBPP; see `TaskInfo.build`."""
    own = definition(Judge(setting.responses), is_chat=setting.is_chat)
    stock = Stock("", {NAME: ""}, own={NAME: own}, on_hub=False)
    return build(info, setting, shots, stock, read_mbpp, _from_hub)


def definition(judge: Judge, *, is_chat: bool) -> dict[str, Any]:
    """Return the harness's definition, its programs run by our judge."""
    found = stock_definition("mbpp", "mbpp")

    def written(row: Mapping[str, Any], reply: str) -> str:
        return program_of(row, reply, is_chat=is_chat)

    ours = {
        "doc_to_text": CHAT_PROMPT if is_chat else found["doc_to_text"],
        "gen_prefix": BEGIN_BLOCK if is_chat else None,
        "doc_to_target": _chat_target if is_chat else found["doc_to_target"],
        "fewshot_config": {
            "sampler": "first_n",
            "samples": stock_examples("mbpp", "list_fewshot_samples"),
        },
        "generation_kwargs": {
            "until": [END_BLOCK] if is_chat else ["[DONE]"],
            "max_gen_toks": 2 * MAX_NEW_TOKENS if is_chat else MAX_NEW_TOKENS,
            "do_sample": False,
        },
    }
    return found | ours | scored_by_tests(judge, written, tested)


def _chat_target(row: Mapping[str, Any]) -> str:
    """Return what is right: the rest of a begun code block for an example, else the tests."""
    if row.get("is_fewshot"):
        return f"{row['code']}\n```"
    return "\n".join(row["test_list"])


def program_of(row: Mapping[str, Any], reply: str, *, is_chat: bool) -> str:
    """Return the program in a reply."""
    if is_chat:
        called = re.findall(r"\b([A-Za-z_]\w*)\s*\(", " ".join(row["test_list"]))
        return code_block(with_opening(reply), called)
    return code_block(reply.partition("[DONE]")[0])


def tested(row: Mapping[str, Any], program: str) -> Program:
    """Return a program with the row's tests behind it."""
    tests = "\n".join(row["test_list"])
    return with_tests(program, f"{row.get('test_setup_code') or ''}\n{tests}")


def read_mbpp(folder: Path) -> Rows | None:
    """Read MBPP's own file (`mbpp.jsonl`) in a folder."""
    paths = find_files(folder, r"mbpp\.jsonl")
    if not paths:
        return None
    set_aside = SetAside()
    found = [(f"{path.name}#{place}", row) for path, place, row in read_files(paths, set_aside)]
    return rows_of(found, names_of(paths), set_aside)


def rows_of(
    found: Sequence[tuple[str, Mapping[str, Any]]], source: str, set_aside: SetAside
) -> Rows:
    """Return the test part; rows without number, text or tests are set aside."""
    tests, others = [], 0
    for where, row in found:
        number, checks = row.get("task_id"), row.get("test_list")
        if number not in TEST_PART:
            others += isinstance(number, int)
            if not isinstance(number, int):
                set_aside.add("no task_id", where)
            continue
        if not isinstance(checks, list) or not checks or not isinstance(row.get("text"), str):
            set_aside.add(NO_PROBLEM, where)
            continue
        values = {
            "text": text_of(dict(row), "text"),
            # the stock prompt shows the first three
            "test_list": [str(check) for check in checks],
            "test_setup_code": str(row.get("test_setup_code") or ""),
        }
        tests.append(Row(NAME, values, id=f"MBPP/{number}"))
    note = f"{source} (its test part; {others} rows are of other parts)" if others else source
    return Rows(tests, source=note, set_aside=set_aside)


def _from_hub() -> Rows:
    rows = hub_rows("google-research-datasets/mbpp", "full", "test")
    return rows_of([(f"hub#{i}", row) for i, row in enumerate(rows)], "the hub's test", SetAside())
