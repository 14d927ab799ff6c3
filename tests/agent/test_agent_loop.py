"""The agent: it calls, observes and answers; whatever goes wrong, it ends and says why."""

import json
import threading
import time

import pytest
from endpoint_server import serve
from tiny_models import ScriptedModel, write_reciting

from openqwen.agent.config import AgentConfig
from openqwen.agent.endpoint import EndpointModel
from openqwen.agent.loop import run_agent, shorten
from openqwen.agent.models import LocalModel
from openqwen.agent.react import react_prompt
from openqwen.agent.tools import Tool, ToolResult, tool
from openqwen.agent.trace import EVENTS_NAME, PAGE_NAME, Trace
from openqwen.core.errors import UserError
from openqwen.infer.load import load


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@tool
def fail() -> str:
    """Never works."""
    raise RuntimeError("out of paper\nand ink")


@tool
def hang() -> str:
    """Takes its time."""
    time.sleep(30)
    return "late"


@tool
def draw() -> ToolResult:
    """Draws."""
    return ToolResult("drawn", {"../a b.png": b"\x89PNG", "trace.md": b"x"})


@tool
def long() -> str:
    """Talks."""
    return "a" * 5000 + "z" * 5000


TOOLS = [add, fail, hang, draw, long]


def call(name, arguments="{}"):
    return f"Thought: so\nAction: {name}\nAction Input: {arguments}\nObservation: invented"


DONE = "Thought: I now know the final answer\nFinal Answer: 3"


def run(*texts, tools=TOOLS, **settings):
    folder = settings.pop("folder", None)
    model = ScriptedModel(*texts)
    return run_agent(model, tools, "1 + 2?", AgentConfig(**settings), folder=folder), model


def test_it_calls_observes_and_answers():
    trace, model = run(call("add", '{"a": 1, "b": 2}'), DONE)
    assert (trace.reason, trace.answer, trace.num_steps) == ("answer", "3", 2)
    assert trace.calls()[0]["observation"] == "3"
    user = {"role": "user", "content": react_prompt(TOOLS, "1 + 2?")}
    begun = 'Thought: so\nAction: add\nAction Input: {"a": 1, "b": 2}\nObservation: 3\nThought:'
    assert model.prompts == [[user], [user, {"role": "assistant", "content": begun}]]


def test_what_the_model_invents_after_observation_is_never_seen():
    shown = []
    trace = run_agent(
        ScriptedModel(call("add", '{"a": 1, "b": 2}'), DONE),
        TOOLS,
        "1 + 2?",
        show=lambda kind, text: shown.append((kind, text)),
    )
    said = "".join(text for kind, text in shown if kind == "model")
    assert "Obs" not in said
    assert "invented" not in json.dumps(trace.events)
    assert ("observation", "3") in shown


def test_a_reply_without_the_form_is_an_answer_and_marked_so():
    trace, _ = run("It is 3.")
    assert (trace.reason, trace.answer) == ("plain answer", "It is 3.")


@pytest.mark.parametrize(
    ("text", "observation"),
    [
        (call("subtract"), "there is no tool 'subtract'; the tools are: add, fail"),
        (call("add", '{"a": 1,'), "not valid JSON"),
        (call("add", "1 + 2"), "not valid JSON"),
        (call("add", "[1, 2]"), "must be a JSON object, got list"),
        (call("add", '{"a": 1}'), 'b is missing. Arguments of add are written as {"a": <number>, '),
        (call("add", '{"a": 1, "b": "2"}'), 'b must be number, got "2"'),
        (call("add", '{"a": 1, "b": 2, "c": 3}'), "c is not a parameter"),
        ("Thought: so\nAction: add", "not valid JSON"),
    ],
)
def test_each_malformed_call_returns_as_an_observation(text, observation):
    trace, model = run(text, DONE)
    assert trace.reason == "answer"
    (made,) = trace.calls()
    assert made["problem"]
    assert observation in made["observation"]
    assert made["observation"] in model.prompts[1][-1]["content"]


def test_malformed_calls_are_told_a_bounded_number_of_times():
    trace, model = run(call("nothing"), max_malformed=2)
    assert (trace.reason, trace.num_steps) == ("malformed", 3)
    assert len(model.prompts) == 3
    trace, _ = run(call("nothing"), max_malformed=0)
    assert (trace.reason, trace.num_steps) == ("malformed", 1)


def test_a_reply_cut_at_its_length_ends_the_run_and_is_not_acted_on():
    whole = call("add", '{"a": 1, "b": 2}')
    trace, model = run(whole, max_new_tokens=whole.index("\nObservation"))
    assert (trace.reason, trace.num_steps, trace.calls()) == ("truncated", 1, [])
    assert len(model.prompts) == 1


def test_each_limit_ends_the_run_and_is_named():
    good = call("add", '{"a": 1, "b": 2}')
    trace, _ = run(good, max_steps=2)
    assert (trace.reason, trace.num_steps) == ("steps", 2)
    trace, model = run(good, max_tokens=100)
    assert (trace.reason, trace.num_new_tokens) == ("tokens", 100)
    assert model.options[-1].max_new_tokens == 100 - trace.events[1]["new_tokens"]
    model = ScriptedModel("Thought: " + "x" * 10_000, after_piece=lambda: time.sleep(0.002))
    trace = run_agent(model, TOOLS, "?", AgentConfig(max_seconds=0.2, max_new_tokens=9000))
    assert trace.reason == "seconds"
    assert 0.2 <= trace.seconds < 1.5
    assert trace.events[-2]["text"].startswith("Thought: xx"), "what was said is kept"


def test_the_same_call_with_the_same_result_ends_the_run_and_a_changed_one_does_not():
    one, two = call("add", '{"a": 1, "b": 2}'), call("add", '{"a": 2, "b": 1}')
    trace, _ = run(one)
    assert (trace.reason, trace.num_steps) == ("repeats", 3)
    trace, _ = run(one, one, two, one, one, DONE)
    assert (trace.reason, trace.num_steps) == ("answer", 6)
    times = iter(range(9))
    ticking = Tool("clock", "", "", {}, lambda: str(next(times)))
    trace, _ = run(call("clock"), tools=[ticking], max_steps=5)
    assert trace.reason == "steps", "another result is no repeat"


def test_a_context_that_is_full_ends_the_run(tmp_path):
    lm = load(write_reciting(tmp_path / "m", "x"), dtype="float32")
    trace = run_agent(LocalModel(lm, "tiny"), [add], "y" * 5000)
    assert (trace.reason, trace.num_steps) == ("context", 0)


def test_a_tool_that_raises_is_an_observation_and_not_malformed():
    trace, _ = run(call("fail"), DONE, max_malformed=0)
    assert trace.reason == "answer"
    assert trace.calls()[0]["observation"] == (
        "Error: fail failed: RuntimeError: out of paper\nand ink"
    )


def test_a_tool_that_hangs_is_an_observation_in_time():
    began = time.monotonic()
    trace, _ = run(call("hang"), DONE, tool_timeout_s=0.1)
    assert time.monotonic() - began < 2
    assert trace.calls()[0]["observation"] == "Error: hang gave no result within 0.1 s."
    trace, _ = run(call("hang"), DONE, max_seconds=0.2)
    assert trace.reason == "seconds"
    assert any(thread.name == "tool hang" and thread.daemon for thread in threading.enumerate())


def test_a_tool_that_leaves_the_program_is_an_observation():
    def leave() -> str:
        """Leave."""
        raise SystemExit(3)

    trace, _ = run(call("leave"), DONE, tools=[tool(leave)])
    assert "SystemExit: 3" in trace.calls()[0]["observation"]


def test_a_long_observation_is_cut_in_its_middle():
    trace, _ = run(call("long"), DONE, max_observation_chars=300)
    text = trace.calls()[0]["observation"]
    assert len(text) <= 300
    assert text.startswith("aaa")
    assert text.endswith("zzz")
    kept = text.count("a") + text.count("z") - text.split("…")[1].count("a")
    assert f"… {10_000 - kept:,} characters left out …" in text
    assert shorten("abc", 200) == "abc"


def test_names_are_found_in_other_cases_only_where_that_is_clear():
    trace, _ = run(call("ADD ", '{"a": 1, "b": 2}'), DONE)
    assert trace.calls()[0]["observation"] == "3"
    twins = [Tool("X", "", "", {}, lambda: "1"), Tool("x", "", "", {}, lambda: "2")]
    trace, _ = run(call("x"), DONE, tools=twins)
    assert trace.calls()[0]["observation"] == "2"


def test_earlier_turns_stand_before_the_question():
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for form in ("react", "tool_call"):
        model = ScriptedModel(DONE)
        run_agent(model, TOOLS, "1 + 2?", AgentConfig(form=form), history=history)
        roles = [m["content"] for m in model.prompts[0] if m["role"] != "system"]
        assert roles[:2] == ["a", "b"]
        assert len(roles) == 3


def test_ctrl_c_and_a_failing_model_end_the_run_with_its_trace(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    trace = run_agent(ScriptedModel(DONE, after_piece=interrupt), TOOLS, "?", folder=tmp_path)
    assert trace.reason == "stopped"
    assert (tmp_path / PAGE_NAME).is_file()

    def break_down():
        raise UserError("the endpoint is gone")

    trace = run_agent(ScriptedModel(DONE, after_piece=break_down), TOOLS, "?")
    assert (trace.reason, trace.events[-1]["error"]) == ("error", "the endpoint is gone")


TOOL_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": %d, "b": 2}}\n</tool_call>'


@pytest.mark.parametrize("form", ["tool_call", "functions"])
def test_other_forms_call_several_tools_in_a_turn(form):
    trace, model = run(f"Both.\n{TOOL_CALL % 1}\n{TOOL_CALL % 5}", "3 and 7.", form=form)
    assert (trace.reason, trace.answer) == ("answer", "3 and 7.")
    assert [made["observation"] for made in trace.calls()] == ["3", "7"]
    assert model.prompts[1][-1] == {
        "role": "user",
        "content": "<tool_response>\n3\n</tool_response>\n<tool_response>\n7\n</tool_response>",
    }
    assert model.prompts[1][-2]["content"] == f"Both.\n{TOOL_CALL % 1}\n{TOOL_CALL % 5}"


def test_an_unreadable_tool_call_returns_as_an_observation():
    trace, model = run('<tool_call>\n{"name": "add", "argum', "3.", form="tool_call")
    assert trace.answer == "3."
    assert "Error: the call is not valid JSON" in model.prompts[1][-1]["content"]
    assert trace.calls()[0]["problem"]


def test_functions_run_over_an_endpoint_and_malformed_ones_are_told(tmp_path):
    """The server has no tool use of its own: what it answers is played, the HTTP is real."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{"}}]

    def response(message):
        return (200, [], json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))

    lm = load(write_reciting(tmp_path / "m", "x"), dtype="float32")
    with serve(lm) as server:
        server.failures = [
            response({"content": None, "tool_calls": calls}),
            response({"content": None, "tool_calls": ["odd"]}),
            response({"content": "3"}),
        ]
        model = EndpointModel(server.url, "tiny")
        trace = run_agent(model, TOOLS, "1 + 2?", AgentConfig(form="functions"))
        sent = [body["messages"] for _, body, _ in server.requests]
        tools = server.requests[0][1]["tools"]
    assert (trace.reason, trace.answer, trace.num_steps) == ("answer", "3", 3)
    assert tools == [each.definition() for each in TOOLS]
    assert sent[1][-2]["tool_calls"] == calls
    assert sent[1][-1]["role"] == "tool"
    assert sent[1][-1]["tool_call_id"] == "c1"
    assert "not valid JSON" in sent[1][-1]["content"]
    assert sent[2][-1]["role"] == "user", "a result without a call would be refused"
    assert "needs a function with a name" in sent[2][-1]["content"]


def test_a_run_leaves_events_a_page_and_files(tmp_path):
    trace, _ = run(call("draw"), call("nothing"), DONE, folder=tmp_path / "t", seed=5)
    rows = [json.loads(line) for line in (tmp_path / "t" / EVENTS_NAME).open(encoding="utf-8")]
    assert [row["event"] for row in rows] == [
        "start", "reply", "call", "reply", "call", "reply", "end",
    ]  # fmt: skip
    assert rows == json.loads(json.dumps(trace.events))
    start, end = rows[0], rows[-1]
    assert start["settings"]["seed"] == 5
    assert set(start["versions"]) == {"openqwen", "torch", "python"}
    assert start["prompt"][0]["content"] == react_prompt(TOOLS, "1 + 2?")
    assert [each["function"]["name"] for each in start["definitions"]] == [t.name for t in TOOLS]
    assert (end["reason"], end["answer"], end["steps"]) == ("answer", "3", 3)
    assert end["new_tokens"] == sum(r["new_tokens"] for r in rows if r["event"] == "reply") > 0
    assert rows[2]["files"] == ["a_b.png", "trace-2.md"]
    assert (tmp_path / "t" / "a_b.png").read_bytes() == b"\x89PNG"
    page = (tmp_path / "t" / PAGE_NAME).read_text(encoding="utf-8")
    for part in ("# 1 + 2?", "- form: react", "## Step 3", "![a_b.png](a_b.png)",
                 "Malformed call", "there is no tool 'nothing'", "the model answered"):  # fmt: skip
        assert part in page
    assert not list(tmp_path.glob("*.png")), "nothing outside the folder"


def test_no_text_closes_a_fence_of_the_page():
    trace = Trace("q")
    trace.record("reply", step=1, text="````\n# Heading", new_tokens=1, seconds=0.1,
                 finish_reason="stop")  # fmt: skip
    trace.finish("answer", "```")
    assert "\n`````\n````\n# Heading\n`````\n" in trace.markdown()


def test_half_characters_don_t_break_the_trace(tmp_path):
    trace = Trace("\ud800?", folder=tmp_path)
    trace.finish("answer", "\udfff")
    assert (tmp_path / PAGE_NAME).read_text(encoding="utf-8").startswith("# ??")
    assert json.loads((tmp_path / EVENTS_NAME).read_text(encoding="utf-8"))["event"] == "end"


@pytest.mark.real
def test_the_real_model_uses_the_calculator_in_both_forms(coder05_path):
    from openqwen.agent.toolbox.catalogue import calculator_tool

    model = LocalModel(load(coder05_path, quantize="int8"), "coder05")
    for form in ("react", "tool_call"):
        config = AgentConfig(form=form, max_steps=6, max_new_tokens=256)
        trace = run_agent(model, [calculator_tool()], "What is 17 * 23 + 4?", config)
        assert trace.calls(), form
        assert trace.calls()[0]["name"] == "calculator"
        assert trace.reason in ("answer", "plain answer", "malformed", "repeats")
