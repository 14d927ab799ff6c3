"""The Hugging Face agent benchmark: its file read as data, and its scores."""

import json
import shutil
from pathlib import Path

import pytest

from openqwen.agent.hf.prompt import read_run_reply
from openqwen.agent.models import Reply
from openqwen.agent.sandbox.bubblewrap import has_bubblewrap
from openqwen.core.errors import UserError
from openqwen.eval.hf_agent.measure import measure
from openqwen.eval.hf_agent.problems import find_benchmark, read_benchmark, read_description
from openqwen.eval.hf_agent.scoring import (
    Right,
    find_right,
    run_as_original,
    score_reply,
    score_tools,
)
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Responses

# the form of transformers/tools/evaluate_agent.py, in small; it would end the test if it ran
FILE = """
raise SystemExit("this file is data")
from .agents import anything

def painter(prompt, size=2):
    return f"This is an image of {prompt}."

def captioner(image):
    if "image" not in image:
        raise ValueError(f"`image` ({image}) is not an image.")
    return f"This is a description of {image}."

def speaker(text):
    return f"This is a sound reading {text}."

TEST_TOOLS = {"image_generator": painter, "image_captioner": captioner, "text_reader": speaker}

class Problem:
    def __init__(self, task, inputs, answer):
        self.task = task

EVALUATION_TASKS = [
    Problem(task=["Draw `text_input`.", "Paint `text_input`."], inputs=["text_input"],
            answer="image_generator(text_input)"),
    Problem(task="Read `image` aloud.", inputs={"image": "the image"},
            answer=["text_reader(image_captioner(image))", "text_reader(image)"]),
]
EVALUATION_CHATS = [
    [
        Problem(task=["Draw `t`.", "Paint `t`."], inputs=["t"], answer="image = image_generator(t)"),
        Problem(task=["Describe it.", "Say what it is."], inputs=[], answer="image_captioner(image)"),
    ],
]
"""  # noqa: E501
DESCRIBED = """
class Tool:
    name = "{name}"
    description = ("This tool " "{text}.")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "evaluate_agent.py").write_text(FILE)
    for module, name in (
        ("image_captioning", "image_captioner"),
        ("text_to_speech", "text_reader"),
    ):
        (tmp_path / f"{module}.py").write_text(DESCRIBED.format(name=name, text=f"is {name}"))
    return tmp_path


class Told:
    """A model that answers the last of the tasks it knows in a prompt; any prompt is kept."""

    name = "told"

    def __init__(self, answers):
        self.answers, self.prompts = answers, []

    def reply(self, prompts, options):
        self.prompts += prompts
        return [Reply(self.answer(json.dumps(prompt)), "stop") for prompt in prompts]

    def answer(self, prompt):
        return self.answers[max(self.answers, key=prompt.rfind)]

    def stream(self, prompt, options):
        yield ""
        raise AssertionError("no stream is asked for")


def test_the_file_is_read_without_running_it(folder):
    benchmark, tools, where = find_benchmark(folder)
    assert [len(problem.tasks) for problem in benchmark.single] == [2, 1]
    assert benchmark.single[0].inputs == {"text_input": "<<text_input>>"}
    assert benchmark.single[1].inputs == {"image": "the image"}
    assert benchmark.single[1].has_alternatives
    assert not benchmark.single[0].has_alternatives
    assert len(benchmark.chats[0]) == 2
    assert where.endswith("evaluate_agent.py")
    assert [tool.name for tool in tools] == list(benchmark.stand_ins)
    assert tools[1].description == "This tool is image_captioner."


def test_stand_ins_do_what_their_text_says(folder):
    stand_ins = find_benchmark(folder)[0].stand_ins
    assert stand_ins["image_generator"]("a cat") == "This is an image of a cat."
    assert stand_ins["image_generator"](prompt="a cat", size=3) == "This is an image of a cat."
    assert stand_ins["image_captioner"]("an image") == "This is a description of an image."
    with pytest.raises(ValueError, match=r"`image` \(a text\) is not an image"):
        stand_ins["image_captioner"]("a text")
    for wrong in ({"txt": "a"}, {}, {"text": "a", "size": 1}):
        with pytest.raises(TypeError):
            stand_ins["text_reader"](**wrong)
    with pytest.raises(TypeError):
        stand_ins["text_reader"]("a", "b")


BROKEN = [FILE.replace("TEST_TOOLS", "TOOLS"), FILE.replace("TASKS = [", "TASKS = [1,")]


@pytest.mark.parametrize("text", ["", "x = 1", "not python (", *BROKEN])
def test_another_file_is_refused_in_one_line(text):
    with pytest.raises(UserError, match="is not the problem file"):
        read_benchmark(text)


def test_a_tool_that_nothing_describes_is_named(folder):
    (folder / "text_to_speech.py").unlink()
    with pytest.raises(UserError, match="nothing describes the tool text_reader"):
        find_benchmark(folder)
    assert read_description("class Other:\n    name = 'x'\n") is None


def test_tools_cost_a_quarter_each_that_is_missing_or_needless():
    assert score_tools({"a", "b"}, {"a", "b"}) == 1
    assert score_tools({"a"}, {"a", "b"}) == 0.75
    assert score_tools({"a", "c", "d"}, {"a", "b"}) == 0.25
    assert score_tools({"c", "d", "e"}, {"a", "b"}) == 0


# problem, reply and the three scores that the original's own functions gave to it
DRAW, READ = 0, 1
PICTURE, CAPTION, SPEECH = "`image_generator`", "`image_captioner`", "`text_reader`"
RECORDED = [
    (DRAW, PICTURE, "```py\nx = image_generator(prompt=text_input)\n```", (1.0, 1.0, 1)),
    (DRAW, PICTURE, "```py\nx = image_generator(text_input)\n```\nDone.", (1.0, 1.0, 0.3)),
    (DRAW, PICTURE, "import os\nx = image_generator(text_input)", (1.0, 1.0, 0.3)),
    (DRAW, CAPTION, "x = image_generator(text_input)\nimage_captioner(x)", (0.5, 0.75, 0.3)),
    (DRAW, "none", "x = image_generator(text_input)\n{'x': x}", (0.75, 1.0, 0.75)),
    (DRAW, PICTURE, "x = image_generator(tex_input)", (1.0, 1.0, 1)),
    (DRAW, PICTURE, "x = image_generator(txt=text_input)", (1.0, 1.0, 0.3)),
    (DRAW, PICTURE, "x = image_generator(text_input)\nif x:\n    1", (1.0, 1.0, 0.3)),
    (DRAW, PICTURE, "x = image_generator(text_input)\nx.save('a.png')", (1.0, 1.0, 1)),
    (DRAW, PICTURE, "a = b = image_generator(text_input)\nb", (1.0, 1.0, 0.3)),
    (READ, SPEECH, "```\ntext_reader(image)\n```", (1.0, 1.0, 1)),
    (READ, SPEECH + CAPTION, "d = image_captioner(image)\ntext_reader(d)", (1.0, 1.0, 1)),
    (READ, "none", "print(image)", (0.5, 0.5, 0.3)),
]


@pytest.mark.parametrize(("place", "words", "program", "wanted"), RECORDED)
def test_scores_are_those_recorded_from_the_original(folder, place, words, program, wanted):
    benchmark = find_benchmark(folder)[0]
    problem, names = benchmark.single[place], list(benchmark.stand_ins)
    reply = f"tools: {words} to do it.\n\nAnswer:\n{program}"
    explanation, program = read_run_reply(reply, as_original=True)
    value = run_as_original(program, benchmark.stand_ins, {}, problem.inputs)
    right = find_right(problem, benchmark.stand_ins, [{} for _ in problem.answers])
    scores = score_reply(explanation, program, value, right, names)
    assert (scores["tool_selection"], scores["tool_used"], scores["code"]) == wanted
    assert scores["exact"] == (wanted[2] == 1)


def test_a_reply_without_a_program_scores_nothing_but_its_words():
    right = Right(("f(x)",), ("v",), False)
    scores = score_reply("I use `f`.", None, None, right, ["f", "g"])
    assert scores == {"tool_selection": 1.0, "tool_used": 0.0, "code": 0.0, "exact": 0.0}


def test_an_answer_of_the_file_that_does_not_run_is_told(folder):
    text = FILE.replace('answer="image_generator(text_input)"', 'answer="nothing(text_input)"')
    benchmark = read_benchmark(text)
    with pytest.raises(UserError, match=r"own answer gives nothing: nothing\(text_input\)"):
        find_right(benchmark.single[0], benchmark.stand_ins, [{}])


ANSWERS = {
    "Draw `text_input`": "tool: `image_generator`.\n\nAnswer:\nimage_generator(text_input)",
    "Paint `text_input`": "```py\nimage_generator(text_input)\n```",  # right, but no Answer:
    "Read `image`": "tool: `text_reader`.\n\nAnswer:\nx = [text_reader(i) for i in [image]]\nx[0]",
    "Draw `t`": "I use `image_generator`.\n```py\nimage = image_generator(t)\n```",
    "Paint `t`": "I use `image_generator`.\n```py\nimage = image_generator(t)\n```",
    "Describe it": "I use `image_captioner`.\n```py\nimage_captioner(image)\n```",
    "Say what": "I use `image_captioner`.\n```py\nimage_captioner('nothing')\n```",
}


def test_both_modes_are_measured_with_states_that_go_on(folder, tmp_path):
    model = Told(ANSWERS)
    setting = Setting(model, None, tmp_path, Responses(None), data=folder, is_chat=True)
    run, chat = measure(setting)
    scores = {item.id: item.scores for item in run.items}
    assert scores["run_0_0"] == dict.fromkeys(
        ("tool_selection", "tool_used", "code", "exact", "solved"), 1.0
    )
    # the program stands where the original does not look
    assert scores["run_0_1"]["code"] == 0
    assert scores["run_0_1"]["solved"] == 1
    # full Python: the original's evaluator stops at once; the sandbox does it
    assert scores["run_1_0"]["code"] == 0.3
    # where there is no bubblewrap it is fetched, if anything can be
    assert scores["run_1_0"]["solved"] == (shutil.which("bwrap") is not None or has_bubblewrap())
    assert run.metrics["tool_selection"].n == 3
    found = {item.id: item.scores["code"] for item in chat.items}
    assert found == {"chat_0_0_0": 1, "chat_0_1_0": 1, "chat_0_0_1": 1, "chat_0_1_1": 0.3}
    asked = model.prompts[-1][0]["content"]
    assert asked.endswith("\nHuman: Say what it is.\n\nAssistant: ")
    assert "Human: Paint `t`.\n\nAssistant: I use `image_generator`." in asked
    assert run.settings["prompt"] == "ours, in the published form"
    assert run.published["Qwen-Chat-14B"]["code"] == 87.0


def test_a_limit_draws_the_same_items_for_every_model(folder, tmp_path):
    ids = []
    for name in ("one", "two"):
        model = Told(ANSWERS)
        model.name = name
        setting = Setting(model, None, tmp_path, Responses(None), folder, 2, 3, True)
        ids.append([[item.id for item in result.items] for result in measure(setting)])
    assert ids[0] == ids[1]
    assert len(ids[0][0]) == 2


@pytest.mark.real
def test_the_published_file_holds_27_wordings_and_47_turns():
    benchmark, tools, _ = find_benchmark(Path("nowhere"))
    assert sum(len(problem.tasks) for problem in benchmark.single) == 27
    assert sum(len(chat) * len(chat[0].tasks) for chat in benchmark.chats) == 47
    assert len(tools) == 14
    for problem in benchmark.single:
        find_right(problem, benchmark.stand_ins, [{} for _ in problem.answers])
