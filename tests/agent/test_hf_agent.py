"""The Hugging Face agent: the evaluator, the plan, the prompts, and programs in the sandbox."""

import shutil
import sys
import time

import pytest
from tiny_models import ScriptedModel

from openqwen.agent.hf.agent import HfAgent, execute
from openqwen.agent.hf.evaluator import evaluate
from openqwen.agent.hf.plan import plan_program
from openqwen.agent.hf.prompt import (
    Templates,
    read_chat_reply,
    read_run_reply,
    read_templates,
    run_prompt,
)
from openqwen.agent.hf.sandboxed import run_sandboxed
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.tools import Tool, tool
from openqwen.core.errors import UserError

needs_sandbox = pytest.mark.skipif(
    shutil.which("bwrap") is None or sys.platform != "linux", reason="needs bubblewrap"
)


class Picture:
    """A value that JSON can't say."""

    def __init__(self, shows):
        self.shows = shows


def shorten(text: str) -> str:
    """Shorten a text.

    Args:
        text: any.
    """
    return f"short({text})"


def read_aloud(text: str) -> str:
    """Read a text aloud.

    Args:
        text: any.
    """
    return f"sound({text})"


def draw(prompt):
    return Picture(prompt)


def look(image):
    if not isinstance(image, Picture):
        raise ValueError(f"{image!r} is no picture")
    return f"seen({image.shows})"


TOOLS = [tool(shorten), tool(read_aloud)]
PICTURES = {"draw": draw, "look": look}
BOTH = {"shorten": shorten, "read_aloud": read_aloud}


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("shorten(text)", "short(T)"),
        ("a = shorten(text=text)\nprint(a)", "short(T)"),  # print gives nothing
        ("x = [shorten('a'), 2, {'k': text}]\nx[2]['k']", "T"),
        ("f'<{shorten(text)}> {1}'", "<short(T)> 1"),
        ("f'{text!r}'", "'T'"),
        ("if text == 'T':\n    'yes'\nelse:\n    'no'", "yes"),
        ("if 'x' in text:\n    'yes'\nelse:\n    'no'", "no"),
        ("for i in range(3):\n    y = f'{i}'\ny", "2"),
        ("a = b = shorten(text)\nb", "short(T)"),
        ("", None),
    ],
)
def test_the_small_part_of_python_runs(program, value):
    outcome = evaluate(program, BOTH, {"text": "T"})
    assert (outcome.value, outcome.kind, outcome.error) == (value, "", "")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os", "Import is not supported (line 1)"),
        ("x = 1 + 1", "BinOp is not supported"),
        ("text.upper()", "text.upper is none of the tools"),
        ("().__class__", "Attribute is not supported"),
        ("__import__('os')", "__import__ is none of the tools"),
        ("open('/etc/passwd')", "open is none of the tools"),
        ("eval('1')", "eval is none of the tools"),
        ("lambda: 1", "Lambda is not supported"),
        ("[c for c in text]", "ListComp is not supported"),
        ("def f():\n    1", "FunctionDef is not supported"),
        ("while 1 == 1:\n    1", "While is not supported"),
        ("shorten(**{'text': text})", "** is not supported"),
        ("shorten(*[text])", "Starred is not supported"),
        ("a, b = 1, 2", "Tuple is not supported"),
        ("x = [1]\nx[0] = 2", "assigning to x[0] is not supported (line 2)"),
        ("texts", "the variable texts is not defined"),
        ("f'{text:>99999999999}'", "a format in an f-string is not supported"),
        ("if text:\n    1", "an if without a comparison is not supported"),
        ("if 1 < 2 < 3:\n    1", "only one comparison at a time"),
    ],
)
def test_what_goes_beyond_it_is_refused_by_name(program, told):
    outcome = evaluate(program, BOTH, {"text": "T"})
    assert outcome.kind == "refused"
    assert told in outcome.error


@pytest.mark.parametrize(
    "program",
    [
        "x = 'ab'\nfor i in range(200):\n    x = f'{x}{x}'",  # 2^200 characters
        "x = [1]\nfor i in range(200):\n    x = [x, x]\n",  # as a tree, 2^200 items
        "for i in range(1000000000000):\n    i",
        "'a' in range(1000000000000)\nif 'a' in range(1000000000000):\n    1",
        "print(range(1000000000000))",
    ],
)
def test_work_and_size_are_bounded(program):
    begun = time.monotonic()
    assert evaluate(program, BOTH).kind in ("budget", "refused")
    assert time.monotonic() - begun < 2


def test_errors_of_tools_and_of_texts_are_told_and_never_raised():
    assert evaluate("look('x')", PICTURES).error == "ValueError: 'x' is no picture"
    assert evaluate("shorten()", BOTH).kind == "raised"
    assert evaluate("a = = 1", BOTH).error == "line 1: invalid syntax"
    assert evaluate("(" * 9000, BOTH).kind == "syntax"
    assert evaluate("\0", BOTH).kind == "syntax"
    assert evaluate("x = 1\n" * 9000, BOTH).kind == "syntax"


def test_the_state_given_is_not_changed_and_calls_are_told():
    state = {"text": "T"}
    outcome = evaluate("text = shorten(text)\nread_aloud(text)", BOTH, state)
    assert state == {"text": "T"}
    assert outcome.state == {"text": "short(T)"}
    assert outcome.calls == ["shorten", "read_aloud"]


def test_as_the_original_takes_an_unknown_variable_for_the_most_similar_one():
    assert evaluate("shorten(txt)", BOTH, {"text": "T"}).kind == "refused"
    assert evaluate("shorten(txt)", BOTH, {"text": "T"}, as_original=True).value == "short(T)"


def test_a_plan_tells_tools_and_what_is_beyond_without_running_anything():
    called = []
    names = {"shorten": called.append, "read_aloud": called.append}
    plan = plan_program("x = read_aloud(shorten(text))\nprint(x)", names)
    assert (plan.tools, plan.beyond, plan.trouble) == (["read_aloud", "shorten"], "", "")
    assert plan_program("shorten(text)\nimport math", names).beyond == "Import (line 2)"
    assert plan_program("x = len(shorten(text))", names).beyond == "a call of len (line 1)"
    assert plan_program("if shorten(text):\n    1", names).beyond.startswith("an if without one")
    assert plan_program("shorten(", names).trouble.startswith("line 1")
    assert called == []


def test_run_mode_asks_in_the_published_layout_and_solves_the_task():
    model = ScriptedModel(
        "tools: `shorten` to shorten it and `read_aloud` to read it.\n\nAnswer:\n```py\n"
        "s = shorten(text=text)\nread_aloud(text=s)\n```\n\nTask: another"
    )
    done = HfAgent(model, TOOLS).run("Shorten `text`, then read it.", text="T")
    assert (done.value, done.error, done.ran) == ("sound(short(T))", "", "evaluator")
    assert done.calls == ["shorten", "read_aloud"]
    assert done.explanation.startswith("I will use the following tools: `shorten`")
    [[asked, begun]] = model.prompts
    assert "- shorten: Shorten a text.\n- read_aloud: Read a text aloud." in asked["content"]
    assert asked["content"].endswith('Task: "Shorten `text`, then read it."')
    assert begun == {"role": "assistant", "content": "I will use the following"}
    assert model.options[0].stop == ("Task:",)
    HfAgent(model, TOOLS, is_begun=False).run("Shorten `text`, then read it.", text="T")
    [message] = model.prompts[1]
    assert message["content"] == f"{asked['content']}\n\n{begun['content']}"
    HfAgent(model, TOOLS, is_chat=False).run("Shorten `text`, then read it.", text="T")
    assert model.prompts[2] == message["content"]


def test_chat_mode_keeps_variables_and_messages_until_a_new_chat():
    model = ScriptedModel(
        "I will use the tool `shorten`.\n\n```py\ns = shorten(text)\n```",
        "I will use the tool `read_aloud`.\n\n```py\nread_aloud(s)\n```\nHuman: more",
        "I can't.",
    )
    agent = HfAgent(model, TOOLS, is_chat=False)
    assert agent.chat("Shorten `text`.", text="T").value == "short(T)"
    assert agent.chat("Read it.").value == "sound(short(T))"
    assert model.prompts[1].startswith(model.prompts[0])
    assert model.prompts[1].endswith("\nHuman: Read it.\n\nAssistant: ")
    assert "more" not in agent.history
    agent.new_chat()
    done = agent.chat("Read it.")
    assert (done.program, done.error) == (None, "the reply holds no program")
    assert model.prompts[2].count("Human: Read it.") == 1
    assert "s = shorten(text)" not in model.prompts[2]


def test_a_tool_that_is_only_described_is_refused():
    described = Tool("f", "f", "does nothing", {"type": "object", "properties": {}})
    with pytest.raises(UserError, match="the tool f is only described"):
        HfAgent(ScriptedModel(""), [described])


def test_replies_are_read_leniently_for_users_and_as_the_original_for_scores():
    reply = "tool: `shorten`.\n\nAnswer:\n```py\nshorten(text)\n```\nThat is all."
    assert read_run_reply(reply) == ("I will use the following tool: `shorten`.", "shorten(text)")
    strict = read_run_reply(reply, as_original=True)[1]
    assert strict == "shorten(text)\n```\nThat is all."
    closed = reply.removesuffix("\nThat is all.")
    assert read_run_reply(closed, as_original=True)[1] == "shorten(text)"
    assert read_run_reply("Why.\n```py\na = 1\n```")[1] == "a = 1"
    assert read_run_reply("Why.\n```py\na = 1\n```", as_original=True)[1] is None
    assert read_run_reply("no program here") == ("I will use the following no program here", None)
    assert read_chat_reply("Why.\n```py\na = 1\nb = 2") == ("Why.", "a = 1\nb = 2")
    assert read_chat_reply("Why.") == ("Why.", None)


def test_templates_of_the_published_names_take_the_place_of_ours(tmp_path):
    assert read_templates(tmp_path).is_ours
    (tmp_path / "run_prompt_template.txt").write_text('T:\n<<all_tools>>\nTask: "<<prompt>>"')
    (tmp_path / "chat_prompt_template.txt").write_text("C:\n<<all_tools>>\n")
    templates = read_templates(tmp_path)
    assert not templates.is_ours
    prompt = run_prompt(TOOLS[:1], "say <<all_tools>>", templates.run)
    assert prompt == 'T:\n- shorten: Shorten a text.\nTask: "say <<all_tools>>"'
    (tmp_path / "run_prompt_template.txt").write_text("no marks")
    with pytest.raises(UserError, match="has no <<all_tools>>"):
        read_templates(tmp_path)
    assert Templates().is_ours


@needs_sandbox
def test_real_python_runs_in_the_sandbox_and_calls_tools_of_the_host():
    program = "import math\nparts = [shorten(c) for c in text]\nmath.prod([1, 2, 3])"
    outcome, ran = execute(program, BOTH, {"text": "ab"}, SandboxConfig())
    assert (outcome.value, outcome.kind, ran) == (6, "", "sandbox")
    assert outcome.calls == ["shorten", "shorten"]
    assert outcome.state == {"text": "ab", "parts": ["short(a)", "short(b)"]}


@needs_sandbox
def test_values_that_json_cannot_say_stay_with_the_host():
    outcome = run_sandboxed("p = draw('sea')\nkept = [p]\nlook(kept[0])", PICTURES)
    assert outcome.value == "seen(sea)"
    assert isinstance(outcome.state["kept"][0], Picture)
    again = run_sandboxed("look(p) + str(type(p).__name__)", PICTURES, outcome.state)
    assert again.value == "seen(sea)Held"
    assert run_sandboxed("look('x')", PICTURES).error.endswith("'x' is no picture")


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "kind", "told"),
    [
        ("while True: pass", "limit", "took more than 1 s"),
        ("import os; os._exit(0)", "limit", "ended without a result"),
        ("import sys; sys.exit(3)", "raised", "SystemExit: 3"),
        ("open('/etc/shadow').read()", "raised", "FileNotFoundError"),
        ("'x' * 10**7", "limit", "bytes of messages"),
        ("import os; os.write(1, b'{\"call\": \"rm\"}\\n')\nshorten('a')", "raised", "none of the"),
        ("import os; os.write(1, b'[' * 9000 + b'\\n')", "limit", "without a result"),
        ("import os; os.write(1, b'[]\\n')", "limit", "no message"),
        ("import os; os.write(1, b'{\"done\": 1}\\n')", "limit", "not of the form agreed"),
        (
            'import os; os.write(1, b\'{"done": {"state": {}, "value": {"__held__": 7}}}\\n\')',
            "limit",
            "does not hold",
        ),
        ("for i in range(200): shorten('a')", "raised", "more than 100 calls"),
    ],
)
def test_what_a_hostile_program_writes_is_an_outcome_and_no_more(program, kind, told):
    outcome = run_sandboxed(program, BOTH, {}, SandboxConfig(timeout_s=1))
    assert outcome.kind == kind
    assert told in outcome.error
