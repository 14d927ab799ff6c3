"""`openqwen agent` as a user meets it: one question, a talk, mistakes, an endpoint."""

import io
import json
import subprocess
import sys

import pytest
from endpoint_server import serve
from tiny_models import ScriptedModel, write_reciting

from openqwen.agent.config import AgentConfig
from openqwen.agent.terminal import Terminal, next_folder
from openqwen.agent.tools import tool
from openqwen.cli.main import main
from openqwen.infer.load import load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_reciting(tmp_path_factory.mktemp("m") / "m", "Hey: 4u."))


def test_a_question_is_answered_and_leaves_a_trace(model, tmp_path, capsys):
    asked = ["agent", model, "--ask", "2 + 2?", "--trace", str(tmp_path), "--steps", "2"]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Hey: 4u.\n(the model answered without the form; 1 steps")
    assert str(tmp_path / "0001") in said.out
    rows = [json.loads(line) for line in (tmp_path / "0001" / "events.jsonl").open()]
    assert rows[0]["tools"] == ["calculator"]
    assert rows[0]["settings"]["max_steps"] == 2
    assert (rows[-1]["event"], rows[-1]["answer"]) == ("end", "Hey: 4u.")
    assert (tmp_path / "0001" / "trace.md").is_file()
    assert main([*asked, "--max-new-tokens", "2"]) == 1, "cut short is no answer"
    assert "a reply was cut at its length" in capsys.readouterr().out
    assert (tmp_path / "0002" / "trace.md").is_file()


def test_an_endpoint_answers_and_quiet_prints_the_answer_alone(tmp_path, capsys, monkeypatch):
    lm = load(write_reciting(tmp_path / "m", "Hey: 4u."), dtype="float32")
    with serve(lm) as server:
        monkeypatch.setattr(sys, "stdin", io.StringIO("2 + 2?\n"))
        assert main(["agent", server.url, "--ask", "-", "--quiet"]) == 0
        body = server.requests[0][1]
    said = capsys.readouterr()
    assert said.out == "Hey: 4u.\n"
    assert "endpoint http://127.0.0.1" in said.err
    assert "answered without the form; 1 steps" in said.err
    assert body["messages"][0]["content"].endswith("Question: 2 + 2?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tools", "oven"], "no tool 'oven'; there are: calculator, files"),
        (["--tools", "search"], "the tool search needs --folder DIR"),
        (["--tools", "files", "--folder", "/nowhere/at/all"], "is no folder"),
        (["--folder", "."], "--folder DIR goes with the tools files and search"),
        (["--steps", "0"], "max_steps = 0 is not valid"),
        (["--quiet"], "--quiet goes with --ask"),
        (["--ask", " "], "--ask needs a question"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(model, arguments, message, capsys):
    assert main(["agent", model, *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_missing_model_and_a_dead_endpoint_are_one_line(capsys):
    assert main(["agent", "/nowhere/model", "--ask", "x"]) == 2
    assert main(["agent", "http://127.0.0.1:9/v1#m", "--ask", "x", "--device", "cpu"]) == 2
    assert "device says how to load a model" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_model_that_refuses_the_question_is_exit_code_2(tmp_path, capsys, quiet):
    lm = load(write_reciting(tmp_path / "m", "Hey: 4u."), dtype="float32")
    with serve(lm) as server:
        server.failures = [(401,)]
        assert main(["agent", server.url, "--ask", "2 + 2?", *quiet]) == 2
    assert "answers 401" in "".join(capsys.readouterr())


@tool
def clock() -> str:
    """Tell the time."""
    return "noon\x1b[2J"


def talk(script, typed, **settings):
    stdout = io.StringIO()
    terminal = Terminal(
        ScriptedModel(*script), [clock], AgentConfig(**settings), stdin=io.StringIO(typed),
        stdout=stdout,
    )  # fmt: skip
    terminal.run()
    return terminal, stdout.getvalue()


CALL = "Thought: look\nAction: clock\nAction Input: {}\nObservation: midnight"
ANSWER = " done\nFinal Answer: noon"


def test_a_talk_shows_the_run_and_keeps_the_history():
    terminal, said = talk([CALL, ANSWER, "Final Answer: still noon"], "Time?\nAnd now?\n/quit\nno")
    assert "Action: clock" in said
    assert "Observation: noon\ufffd[2J\nThought: done\nFinal Answer: noon\n" in said
    assert "midnight" not in said
    assert "\x1b" not in said, "a tool's output can't steer the terminal"
    assert "(the model answered; 2 steps" in said
    assert terminal.history == [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": "noon"},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "still noon"},
    ]
    assert terminal.model.prompts[2][:2] == terminal.history[:2]


def test_commands_are_obeyed():
    terminal, said = talk(["It is noon."], "/trace\n/tools\nTime?\n/trace\n/clear\n/what\n/exit\n")
    assert "(no run yet)" in said
    assert "clock: Call this tool to interact with the clock API." in said
    assert "# Time?\n" in said
    assert "the model answered without the form" in said
    assert "(conversation forgotten)" in said
    assert "(/what is not a command: /tools lists the tools" in said
    assert terminal.history == []


def test_runs_are_numbered_and_none_is_written_over(tmp_path):
    assert next_folder(tmp_path / "t").name == "0001"
    (tmp_path / "t" / "0041").mkdir()
    (tmp_path / "t" / "notes").mkdir()
    assert next_folder(tmp_path / "t").name == "0042"


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, openqwen.cli.agent as a, argparse; a.add_arguments(argparse.ArgumentParser());"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
