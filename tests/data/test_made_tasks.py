import pytest

from openqwen.core.documents import Document, write_documents
from openqwen.data.training.code_instructions import (
    code_rounds,
    functions_of,
    is_python,
    python_block,
)
from openqwen.data.training.conversation_rows import BadRowError
from openqwen.data.training.math_problems import make_problems, problem_of_row, read_answer

MODULE = (
    '''
def double(x):
    """Return twice the number."""
    return 2 * x

class Box:
    def open(self):
        """Open the lid of the box."""
        self.is_open = True

def bare(x):
    return x

def long():
    """Say a lot of words in a row."""
'''
    + "    print(1)\n" * 40
)


def test_problems_are_right_different_and_worked_out_by_the_same_seed():
    problems = make_problems(400, seed=3)
    assert problems == make_problems(400, seed=3)
    assert len({p.prompt for p in problems}) == 400
    for p in problems:
        assert read_answer(p.solution) == p.answer
        sums = [part for part in p.solution.split(". ") if "=" in part]
        for part in sums:
            left, right = part.replace("×", "*").replace("÷", "//").split("=")
            assert eval(left) == int(right)
    assert {"en", "zh"} == {"zh" if "答案" in p.solution else "en" for p in problems}


def test_no_held_out_problem_has_the_numbers_of_one_in_training():
    problems = make_problems(3000, seed=0)
    sides = {}
    for p in problems:
        numbers = tuple(
            sorted(int(t) for t in "".join(c if c.isdigit() else " " for c in p.prompt).split())
        )
        sides.setdefault((p.kind, numbers), set()).add(p.split)
    assert all(len(side) == 1 for side in sides.values())
    assert 0.08 < sum(p.split == "validation" for p in problems) / 3000 < 0.25


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("so 3 + 4 = 7. The answer is 7.", "7"),
        ("答案是1,042。", "1042"),
        ("It costs $3.50", "3.5"),
        ("#### 12\n", "12"),
        (r"\boxed{-8} is what I say, 9", "-8"),
        ("I do not know", None),
        ("50%", "50"),
    ],
)
def test_the_answer_of_a_reply_is_its_last_number_or_the_marked_one(reply, answer):
    assert read_answer(reply) == answer


def test_rows_of_gsm8ks_form_are_problems():
    found = problem_of_row({"question": "2+2?", "answer": "It is 4.\n#### 4"}, "gsm8k/0")
    assert (found.prompt, found.answer) == ("2+2?", "4")
    with pytest.raises(BadRowError, match="without ####"):
        problem_of_row({"question": "2+2?", "answer": "4"}, "x")


def test_functions_are_those_short_and_documented():
    names = [f.name for f in functions_of(MODULE)]
    assert names == ["double", "open"]
    double = next(functions_of(MODULE))
    assert double.bare == "def double(x):\n    return 2 * x"
    assert double.head.endswith('"""Return twice the number."""')
    assert list(functions_of("def broken(:")) == []


def test_both_rounds_come_from_code_documents_only(tmp_path):
    code = Document("m", "lib", "", "PSF", "text/x-python", MODULE)
    prose = Document("p", "web", "", "MIT", "text/plain", MODULE, language="en")
    write_documents(tmp_path / "documents" / "00000.parquet", [code, prose])
    first, second = code_rounds(tmp_path)
    assert [c.id for c in first] == ["m:double", "m:open"]
    assert [c.id for c in second] == ["m:double:complete", "m:double:explain"]
    answer = first[0].messages[-1]["content"]
    assert is_python(python_block(answer))
    assert second[1].messages[-1]["content"] == "Return twice the number."


def test_python_is_told_from_what_is_none():
    assert is_python("def f():\n    return 1")
    assert not is_python("x = 1")
    assert not is_python("def f(:")
    assert python_block("Sure:\n```python\nx = 1\n```\nDone") == "x = 1\n"
    assert python_block("x = 1") == "x = 1"
