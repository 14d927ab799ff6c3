"""Rounds of samples: what is kept, what is dropped, what a stopped run leaves and goes on from."""

import json

import pytest
from instruct_models import Writer

from openqwen.agent.instruct.config import InstructConfig
from openqwen.agent.instruct.generate import DROPPED, FUNNEL, KEPT, RAW, describe, generate
from openqwen.agent.instruct.job import Job
from openqwen.agent.instruct.sample import read_verdicts, sft_row, write_rows
from openqwen.agent.instruct.seeds import Request, Seeds, Task
from openqwen.agent.tools import Tool, tool
from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.conversations import read_conversations

SEEDS = Seeds(
    tasks=[Task(f"s{i}", "en", f"Do the thing called {chr(97 + i) * 5}.") for i in range(9)],
    requests=[Request("t0", "en", "How warm is it in Oslo?", (), "get_weather")],
)
WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CALL = " I need it.\nAction: {}\nAction Input: {}"
FINAL = " I now know.\nFinal Answer: It is {}."


def small(**changes):
    return InstructConfig(**{"languages": ("en",), "num": 24, "batch": 4, "code": "keep"} | changes)


def make(out, model=None, seeds=SEEDS, tools=(), seed=0, **changes):
    job = Job(model or Writer(), seeds, small(**changes), seed, tools)
    return generate(job, out, benchmarks=None, identity={"model": "writer"})


def test_every_raw_sample_is_kept_or_dropped_with_a_reason(tmp_path):
    funnel = make(tmp_path)
    group = funnel["general en"]
    assert group["raw"] == 24 == group["kept"] + sum(group["dropped"].values())
    assert group["kept"] >= 8
    kept, dropped = read_verdicts(tmp_path / KEPT), read_verdicts(tmp_path / DROPPED)
    assert (len(kept), len(kept) + len(dropped)) == (group["kept"], 24)
    assert all(verdict.reason for verdict in dropped)
    assert len({verdict.sample.id for verdict in kept + dropped}) == 24
    facts = kept[0].sample.provenance
    assert {"model", "seed", "round", "batch", "examples", "task_prompt", "answer_prompt"} <= (
        set(facts)
    )
    assert f"{group['kept']} kept" in describe(funnel)


def test_a_stopped_run_goes_on_and_ends_with_the_same_files(tmp_path):
    make(tmp_path / "whole", rounds=2)
    for limit in (1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "parts", Writer(limit=limit), rounds=2)
        with (tmp_path / "parts" / RAW).open("ab") as file:
            file.write(b'{"round": 1, "half a li')
    make(tmp_path / "parts", rounds=2)
    for name in (RAW, KEPT, DROPPED, FUNNEL):
        one, other = tmp_path / "whole" / name, tmp_path / "parts" / name
        assert one.read_bytes() == other.read_bytes()
    model = Writer(limit=0)
    make(tmp_path / "parts", model, rounds=2)
    assert model.calls == 0  # nothing is asked twice


def test_what_was_kept_once_is_dropped_the_second_time(tmp_path):
    class Repeating(Writer):
        def _one(self, prompt, seed):
            return super()._one(prompt, 7)

    group = make(tmp_path, Repeating())["general en"]
    assert group["kept"] == 2  # the two tasks of its one reply
    assert sum(group["dropped"].values()) == 22
    assert set(group["dropped"]) <= {"duplicate", "near-duplicate", "too similar"}


def test_another_seed_gives_other_samples_and_needs_another_directory(tmp_path):
    make(tmp_path / "a")
    with pytest.raises(UserError, match="samples of another seed"):
        make(tmp_path / "a", seed=1)
    with pytest.raises(UserError, match="samples of another settings"):
        make(tmp_path / "a", max_rouge=0.5)
    make(tmp_path / "b", seed=1)
    assert (tmp_path / "a" / KEPT).read_text() != (tmp_path / "b" / KEPT).read_text()


def test_later_rounds_show_what_earlier_ones_kept(tmp_path):
    make(tmp_path, rounds=2)
    rows = [v.sample.provenance for v in read_verdicts(tmp_path / KEPT)]
    shown = {id for facts in rows if facts["round"] == 2 for id in facts["examples"]}
    assert any(id.startswith("r1-general") for id in shown)
    assert any(id.startswith("s") for id in shown)


def test_a_next_call_goes_on_from_accepted_samples_with_the_next_round(tmp_path):
    make(tmp_path / "one")
    kept = [v.sample for v in read_verdicts(tmp_path / "one" / KEPT)]
    tasks = [Task(s.id, "en", s.instruction, "", s.answer) for s in kept]
    again = Seeds([*SEEDS.tasks, *tasks], [], {s.id for s in kept}, max_round=1)
    make(tmp_path / "two", seeds=again)
    samples = [v.sample for v in read_verdicts(tmp_path / "two" / KEPT)]
    assert all(s.id.startswith("r2-") for s in samples)
    assert not {s.instruction for s in samples} & {s.instruction for s in kept}


def test_code_that_fails_in_the_sandbox_is_dropped(tmp_path):
    from openqwen.agent.sandbox.check import require

    try:
        require("full")
    except UserError as error:
        pytest.skip(str(error))
    answers = {
        "birds": "```python\nprint('fine')\n```",
        "winds": "```python\nprint(6 * 7)\n```\nprints\n```\n43\n```",
        "rivers": "```python\nprint(undefined)\n```",
        "songs": "```python\nprint(\n```",
        "teas": "```python\nimport socket\nsocket.create_connection(('1.1.1.1', 80), 2)\n```",
    }
    funnel = make(tmp_path, Writer(answers=answers), code="run", max_jaccard=1.0, num=48)
    reasons = funnel["general en"]["dropped"]
    assert reasons["code fails"] >= 2
    assert reasons["not executable"] >= 1
    assert reasons["prints something else"] >= 1
    dropped = read_verdicts(tmp_path / DROPPED)
    details = " ".join(v.detail for v in dropped if v.reason == "code fails")
    assert "NameError: name 'undefined' is not defined" in details
    kept = [v.sample.provenance for v in read_verdicts(tmp_path / KEPT)]
    assert {"code": "ok", "level": "full"}.items() <= next(f for f in kept if "code" in f).items()


def doubled() -> Tool:
    def double(n: int) -> int:
        """Double a number.

        Args:
            n: a whole number
        """
        if n < 0:
            raise ValueError("below zero")
        return 2 * n

    return tool(double)


def tool_seeds():
    return Seeds(SEEDS.tasks, [Request("t0", "en", "How warm?", (WEATHER,), "get_weather")])


STEPS = {
    "use double": [CALL.format("double", '{"n": 21}'), FINAL.format(42)],
    "use get_weather": [CALL.format("get_weather", '{"city": "Oslo"}'), FINAL.format("clear")],
}


def test_tools_are_executed_or_their_result_is_marked_as_simulated(tmp_path):
    make(
        tmp_path,
        Writer(steps=STEPS),
        tool_seeds(),
        [doubled()],
        kinds=("tools",),
        num=16,
        grounded=False,
    )
    kept = [v.sample for v in read_verdicts(tmp_path / KEPT)]
    calls = {call["tool"]: call["by"] for s in kept for call in s.provenance["calls"]}
    assert calls == {"double": "executed", "get_weather": "simulated"}
    for made in kept:
        roles = [m["role"] for m in made.messages]
        assert roles == ["user", "assistant", "tool", "assistant"]
        observed = made.messages[2]["content"]
        assert observed == ("42" if made.provenance["used"] == "double" else '{"sky": "clear"}')
        assert "Observation" not in made.messages[1]["content"]
        assert made.messages[3]["content"].startswith("Thought: I now know.\nFinal Answer:")


def test_the_model_sees_its_own_turn_continued_after_an_observation(tmp_path):
    seen = []

    class Watching(Writer):
        def reply(self, prompts, options):
            seen.extend(p for p in prompts if not isinstance(p, str) and len(p) == 2)
            return super().reply(prompts, options)

    steps = {
        "use double": [
            CALL.format("double", '{"n": 1}'),
            CALL.format("double", '{"n": 2}'),
            FINAL.format(4),
        ]
    }
    seeds = Seeds(SEEDS.tasks, [Request("t0", "en", "How many?", (), "double")])
    make(
        tmp_path, Watching(steps=steps), seeds, [doubled()], kinds=("tools",), num=4, grounded=False
    )
    longest = max((p[1]["content"] for p in seen), key=len)
    assert longest == (
        'I need it.\nAction: double\nAction Input: {"n": 1}\nObservation: 2\n'
        'Thought: I need it.\nAction: double\nAction Input: {"n": 2}\nObservation: 4\nThought:'
    )


@pytest.mark.parametrize(
    ("steps", "reason", "detail"),
    [
        ([CALL.format("triple", "{}")], "tool call invalid", "no tool is called triple"),
        ([CALL.format("double", '{"n": "x"}')], "tool call invalid", "n"),
        ([CALL.format("double", "{n: 1")], "tool call invalid", "JSON"),
        ([CALL.format("double", '{"n": -1}')], "tool failed", "ValueError: below zero"),
        ([FINAL.format(42)], "no tool used", ""),
        ([" Hm."], "agent did not finish", "neither action nor answer"),
        ([CALL.format("double", '{"n": 1}')] * 9, "agent did not finish", "called twice"),
        (
            [CALL.format("double", f'{{"n": {i}}}') for i in range(9)],
            "agent did not finish",
            "4 actions",
        ),
    ],
)
def test_a_conversation_that_goes_wrong_is_dropped_and_says_why(tmp_path, steps, reason, detail):
    seeds = Seeds(SEEDS.tasks, [Request("t0", "en", "How many?", (), "double")])
    model = Writer(steps={"use double": steps})
    funnel = make(tmp_path, model, seeds, [doubled()], kinds=("tools",), num=4, grounded=False)
    assert funnel["all"]["kept"] == 0
    found = [v for v in read_verdicts(tmp_path / DROPPED) if v.reason == reason]
    assert found
    assert all(detail in v.detail for v in found)


def test_numbers_of_a_call_stand_in_the_request_or_in_an_observation(tmp_path):
    class Asking(Writer):
        def _text(self, prompt, seed):
            return f" Please use double on {'1,200 and 5%' if seed % 2 else 'this'} for me, {seed}"

    grounded = [
        CALL.format("double", '{"n": 1200}'),
        CALL.format("double", '{"n": 2400}'),
        FINAL.format(4800),
    ]
    seeds = Seeds(SEEDS.tasks, [Request("t0", "en", "How many?", (), "double")])
    make(tmp_path, Asking(steps={"use double": grounded}), seeds, [doubled()], kinds=("tools",))
    kept = [v.sample for v in read_verdicts(tmp_path / KEPT)]
    assert kept
    assert all("1,200" in s.instruction for s in kept)
    dropped = [v for v in read_verdicts(tmp_path / DROPPED) if v.reason == "arguments invented"]
    assert dropped
    assert all(v.detail == "1200 stands nowhere before" for v in dropped)


def test_a_request_that_another_tool_answered_is_dropped(tmp_path):
    steps = {"use": [CALL.format("double", '{"n": 1}'), FINAL.format(2)]}
    funnel = make(
        tmp_path,
        Writer(steps=steps),
        tool_seeds(),
        [doubled()],
        kinds=("tools",),
        num=40,
        grounded=False,
    )
    assert funnel["all"]["dropped"]["another tool used"] >= 1
    kept = [v.sample.provenance["used"] for v in read_verdicts(tmp_path / KEPT)]
    assert set(kept) == {"double"}


def test_without_simulation_tools_that_are_only_described_are_dropped(tmp_path):
    model = Writer(steps=STEPS)
    funnel = make(tmp_path, model, tool_seeds(), kinds=("tools",), num=4, simulate=False)
    assert funnel["all"]["kept"] == 0
    assert funnel["all"]["dropped"]["tool call invalid"] >= 1


def test_seeds_of_a_language_must_be_there(tmp_path):
    with pytest.raises(UserError, match="no zh seed of at most"):
        make(tmp_path / "a", languages=("zh",))
    with pytest.raises(UserError, match="no zh seed with tools"):
        make(tmp_path / "b", languages=("zh",), kinds=("tools",), tools=[doubled()])
    with pytest.raises(UserError, match="no tool to ask for in en"):
        make(tmp_path / "c", kinds=("tools",))


def test_what_is_kept_is_read_by_sft(tmp_path):
    make(tmp_path, Writer(steps=STEPS), tool_seeds(), [doubled()], kinds=("general", "tools"))
    samples = [v.sample for v in read_verdicts(tmp_path / KEPT)]
    path = tmp_path / "rows.jsonl"
    write_rows(path, [sft_row(s, "MIT") for s in samples])
    set_aside = SetAside()
    read = list(read_conversations([path], set_aside=set_aside))
    assert set_aside.counts == {}
    assert [r.messages for r in read] == [s.messages for s in samples]
    assert {(r.source, r.licence) for r in read} == {("self-instruct", "MIT")}
    assert json.loads(path.read_text().splitlines()[0])["provenance"]["kind"] == "general"
