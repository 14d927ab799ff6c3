"""The interpreter benchmark: its tasks, how they are judged, and a whole measurement."""

import copy
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from openqwen.agent.models import Options, Reply
from openqwen.agent.react import parse_react
from openqwen.agent.sandbox.check import require
from openqwen.core.errors import UserError
from openqwen.eval.interpreter.checks import Evidence, judge
from openqwen.eval.interpreter.figures import find_problem
from openqwen.eval.interpreter.measure import does_something, measure_with
from openqwen.eval.interpreter.numbers import find_numbers, has_number
from openqwen.eval.interpreter.rounds import RoundsConfig, finish, run_code, start, step
from openqwen.eval.interpreter.task import CATEGORIES, Task, draw, load_tasks
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Remembering, Responses

TASKS = {task.id: task for task in load_tasks()}
FAST = "vis-hard-08"  # two axes


@pytest.fixture(scope="module")
def sandbox():
    try:
        require("full")
    except UserError as error:
        pytest.skip(f"no sandbox here: {error}")


def test_there_are_as_many_tasks_as_the_docs_say():
    of_category = Counter(task.category for task in TASKS.values())
    assert of_category == {"math": 24, "visualisation": 24, "general": 16}
    assert Counter(t.level for t in TASKS.values() if t.category == "visualisation") == {
        "easy": 12,
        "hard": 12,
    }
    chinese = sum(task.language == "zh" for task in TASKS.values())
    assert 1 / 3 - 0.05 < chinese / len(TASKS) < 1 / 3 + 0.05


def test_a_limit_draws_the_same_tasks_of_each_category_for_a_seed():
    tasks = list(TASKS.values())
    drawn = draw(tasks, 3, seed=1)
    assert drawn == draw(tasks, 3, seed=1) != draw(tasks, 3, seed=2)
    assert [task.category for task in drawn] == [name for name in CATEGORIES for _ in range(3)]
    assert draw(tasks, None, seed=1) == tasks


def test_a_broken_task_file_is_named(tmp_path):
    (tmp_path / "x.json").write_text('[{"id": "a", "colour": "red"}]')
    with pytest.raises(UserError, match=r"x\.json: task 'a'.*colour"):
        load_tasks(tmp_path)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("The sum is 1,234,567.", [1234567]),
        ("-3.5e2 and +7", [-350, 7]),
        ("1/4 of it, .5 more", [0.25, 0.5]),
        ("x1 = 5, y_2", [5]),
        ("共 12,345.60 元，约 −7％", [12345.6, -7]),
        ("[1,2,3]", [1, 2, 3]),
        ("version 1.2.3", [1.2]),
        ("7/0", []),
        ("no digit", []),
    ],
)
def test_numbers_are_found_in_texts(text, numbers):
    assert find_numbers(text) == numbers


def test_a_number_counts_to_the_decimals_asked_for():
    assert has_number("about 3.14", 3.14159, decimals=2)
    assert not has_number("about 3.15", 3.14159, decimals=2)
    assert not has_number("about 3.14", 3.14159)
    assert has_number("76,127", 76127)
    assert not has_number("761270", 76127)


MATH = Task("m", "math", "en", "?", {"number": 42}, "", "")


@pytest.mark.parametrize(
    ("result", "final", "correct"),
    [
        ("42", "It is 42.", True),
        ("41", "It is 42.", False),
        ("42", "It is 41.", False),
        ("", "42", False),
        ("42", "", False),
    ],
)
def test_in_math_the_number_must_stand_in_the_result_and_in_the_response(result, final, correct):
    assert judge(MATH, Evidence(result, final)).correct is correct


BARS = {
    "kind": "bar",
    "orientation": "vertical",
    "x": [0.0, 1.0],
    "y": [3.0, 5.0],
    "base": [0.0, 0.0],
    "width": [0.8, 0.8],
    "labels": ["A", "B"],
    "name": "",
}
LINE = {"kind": "line", "x": [0.0, 2.0], "y": [0.0, 4.0], "name": "", "marker": "None"}
RECORD = {
    "suptitle": "",
    "axes": [
        {
            "title": "Sales of 2024",
            "xlabel": "",
            "ylabel": "euro",
            "zlabel": "",
            "xscale": "linear",
            "yscale": "log",
            "xlim": [0.0, 1.0],
            "ylim": [0.0, 5.0],
            "xticks": ["A", "B"],
            "yticks": [],
            "projection": "rectilinear",
            "aspect": "free",
            "is_colorbar": False,
            "is_twin": False,
            "has_grid": False,
            "legend": ["net"],
            "texts": [],
            "marks": [BARS, LINE],
        }
    ],
}
ASKED = {
    "num_axes": 1,
    "axes": [
        {
            "title": "sales",
            "ylabel": ["dollar", "Euro"],
            "yscale": "log",
            "legend": ["net"],
            "marks": [
                {"kind": "line", "at": [[1, 2]]},
                {"kind": "bar", "values": {"a": 3, "b": 5}},
            ],
        }
    ],
}


def test_a_figure_as_asked_for_has_no_problem():
    assert find_problem(ASKED, RECORD) is None


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("num_axes",), 2, "1 axes instead of 2"),
        (("axes", 0, "title"), "Costs", "title is 'Sales of 2024'"),
        (("axes", 0, "yscale"), "linear", "yscale is 'log'"),
        (("axes", 0, "legend"), ["gross"], "legend holds no 'gross'"),
        (("axes", 0, "marks", 0, "at"), [[1, 2.5]], "no mark like"),
        (("axes", 0, "marks", 0, "at"), [[3, 6]], "no mark like"),
        (("axes", 0, "marks", 1, "values"), {"a": 3, "c": 5}, "no mark like"),
        (("axes", 0, "marks", 1, "values"), {"a": 5, "b": 3}, "no mark like"),
        (("axes", 0, "marks"), [{"kind": "line"}, {"kind": "line"}], "too few mark"),
        (("axes", 0, "no_overlap"), True, None),
    ],
)
def test_a_figure_that_differs_is_told_by_how(path, value, problem):
    asked = copy.deepcopy(ASKED)
    place = asked
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    found = find_problem(asked, RECORD)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize(
    "record", [None, 7, {}, {"axes": [7]}, {"suptitle": "", "axes": [{"is_colorbar": False}]}]
)
def test_a_malformed_record_is_no_figure(record):
    assert find_problem(ASKED, record) is not None


def carry_out(task: Task, program: str):
    run = start(task)
    try:
        result = run_code(run, program, RoundsConfig())
        run.final = task.answer or f"{result.stdout}\n{result.value or ''}"
    finally:
        finish(run)
    return result, judge(task, run.evidence())


def check_both_programs(task: Task):
    result, verdict = carry_out(task, task.solution)
    assert result.is_ok, f"{task.id}: {result.text()}"
    assert verdict.correct, f"{task.id}: {verdict.why}"
    result, verdict = carry_out(task, task.wrong)
    assert result.is_ok, f"{task.id}: {result.text()}"
    assert not verdict.correct, f"{task.id}: the wrong program passed"


@pytest.mark.usefixtures("sandbox")
def test_the_solution_passes_and_the_wrong_program_does_not():
    check_both_programs(TASKS[FAST])


@pytest.mark.slow
@pytest.mark.usefixtures("sandbox")
def test_every_solution_passes_and_every_wrong_program_does_not():
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check_both_programs, TASKS.values()))


class Clever:
    """Knows the reference solutions; says what it reads."""

    name = "clever"

    def __init__(self):
        self.asked = 0

    def reply(self, prompts, options: Options):
        self.asked += len(prompts)
        return [Reply(self.answer(prompt), "stop") for prompt in prompts]

    def answer(self, messages) -> str:
        query = messages[0]["content"].partition("\nQuestion: ")[2].rpartition("\nQuestion: ")[2]
        task = next(task for task in TASKS.values() if task.query() == query)
        if messages[-1]["role"] == "user":
            fenced = f"```py\n{task.solution}\n```"
            return f"Thought: run it\nAction: code_interpreter\nAction Input:\n{fenced}\n"
        observed = messages[-1]["content"].rpartition("\nObservation: ")[2]
        return f" I now know the final answer\nFinal Answer: {observed.partition('Thought:')[0]}"


@pytest.mark.usefixtures("sandbox")
def test_a_measurement_scores_and_keeps_everything(tmp_path):
    model, store = Clever(), Responses(tmp_path / "responses.jsonl")
    setting = Setting(
        Remembering(model, store), None, tmp_path, store, limit=1, seed=3, is_chat=True
    )
    result = measure_with(setting, RoundsConfig(), judge_images=lambda task, images: False)
    assert len(result.items) == 3
    for name in ("correct", "executable", "executable_code", "calls_ok"):
        assert result.metrics[name].value == 1.0, [item.output["why_not"] for item in result.items]
    assert result.metrics["judged"].value == 0.0
    assert set(result.groups) >= {*CATEGORIES, "en"}
    assert result.settings["isolation"] == ["full"]
    [drawn] = [item for item in result.items if item.group == "visualisation"]
    assert (tmp_path / drawn.output["images"][0]).read_bytes().startswith(b"\x89PNG")
    assert "\nObservation: " in drawn.output["text"]
    assert model.asked == len(store) == 6  # a program and an answer each, kept for another run


@pytest.mark.parametrize(
    ("reply", "ended", "final"),
    [
        (Reply("Thought: easy\nFinal Answer: 42", "stop"), "final", "42"),
        (Reply("It is just 42.", "stop"), "no action", "It is just 42."),
        (Reply("Action: code_interpreter\nAction Input:\n```py\nx = ", "length"), "length", ""),
        (Reply("Let me think and think", "length"), "length", ""),
        (Reply("Action: search\nAction Input: x", "stop"), "", ""),
        (Reply("Action: code_interpreter\nAction Input: ", "stop"), "", ""),
    ],
)
def test_a_reply_ends_a_task_or_is_answered(reply, ended, final):
    run = start(MATH)
    step(run, reply, RoundsConfig())
    assert (run.ended, run.final, run.codes) == (ended, final, [])
    if not ended:
        assert "\nObservation: The" in run.text
        assert run.text.endswith("\nThought:")
        assert parse_react(reply.text).action is not None


def test_a_task_of_files_without_any_program_is_not_correct():
    run = start(TASKS["general-02"])
    step(run, Reply("Final Answer: done", "stop"), RoundsConfig())
    finish(run)
    verdict = judge(run.task, run.evidence())
    assert (verdict.correct, verdict.why) == (False, "sorted.csv was not written")


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("'plot([1, 2])'", False),
        ("42", False),
        ("", False),
        ("# only a remark", False),
        ("6 * 7", True),
        ("x", True),
        ("print('x')", True),
        ("%matplotlib inline", True),
    ],
)
def test_a_program_that_is_only_a_literal_runs_nothing(code, does):
    assert does_something(code) is does
