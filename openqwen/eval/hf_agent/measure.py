"""The Hugging Face agent measured, in run mode and chat mode (Table 9).

    results = measure(setting)    # `hf_agent_run` (27 wordings), `hf_agent_chat` (47 turns)

The prompt of run mode ends with the reply's first words. Qwen's published script leaves them in
the user's turn, and so does `hf_agent_run`; in `hf_agent_run_begun` they open the assistant's.
Scores are the original's (`openqwen/eval/hf_agent/scoring.py`). `solved` is ours: the reply is read
leniently, and a program beyond the small part of Python runs in the sandbox.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openqwen.agent.hf.agent import MAX_NEW_TOKENS, execute
from openqwen.agent.hf.prompt import (
    CHAT_STOPS,
    RUN_STOPS,
    Templates,
    chat_message,
    chat_opening,
    in_conversation,
    read_chat_reply,
    read_run_reply,
    read_templates,
    run_prompt,
)
from openqwen.agent.models import Options, Prompt
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.eval.hf_agent.problems import Benchmark, Problem, StandInTool, find_benchmark
from openqwen.eval.hf_agent.scoring import METRICS, find_right, run_as_original, score_reply
from openqwen.eval.measure import Setting
from openqwen.eval.results import Item, TaskResult, gather, gather_groups
from openqwen.eval.tool_use.measure import draw

SOURCE = "Qwen Technical Report, Table 9"
PUBLISHED = {
    "run": {
        "GPT-4": (100.0, 100.0, 97.4),
        "Qwen-Chat-7B": (87.0, 87.0, 71.5),
        "Qwen-Chat-14B": (93.5, 94.4, 87.0),
    },
    "chat": {
        "GPT-4": (97.9, 97.9, 98.5),
        "Qwen-Chat-7B": (94.7, 94.7, 85.1),
        "Qwen-Chat-14B": (97.9, 97.9, 95.5),
    },
}


@dataclass
class _Chat:
    """One chat in one wording, as far as it has come.

    Attributes:
        id: number of the chat and of the wording.
        wording: which of each turn's tasks is said.
        turns: its problems.
        history: the text so far.
        state: variables of the model's programs, run as the original does.
        own_state: the same, run in our way.
        right_states: variables of the right programs, one set an alternative.
    """

    id: str
    wording: int
    turns: Sequence[Problem]
    history: str
    state: dict[str, Any] = field(default_factory=dict)
    own_state: dict[str, Any] = field(default_factory=dict)
    right_states: list[dict[str, Any]] = field(default_factory=list)


def measure(setting: Setting) -> list[TaskResult]:
    """Return the scores of both modes.

    Raises:
        UserError: if the problem file is not to be had.
    """
    benchmark, tools, where = find_benchmark(setting.data)
    templates = read_templates(setting.data)
    scorer = _Scorer(benchmark)
    wording = "ours, in the published form" if templates.is_ours else f"files in {setting.data}"
    results = [_run_mode(setting, benchmark, tools, templates, scorer)]
    if setting.is_chat and setting.lm is not None:
        results.append(_run_mode(setting, benchmark, tools, templates, scorer, is_begun=True))
    results.append(_chat_mode(setting, benchmark, tools, templates, scorer))
    facts = {
        "source": where,
        "prompt": wording,
        "conversations": setting.is_chat,
        "max_new_tokens": MAX_NEW_TOKENS,
        "stop": {"run": RUN_STOPS, "chat": CHAT_STOPS},
        "seed": setting.seed,
        "limit": setting.limit,
        "solved": "ours: read leniently, run in the sandbox where the evaluator does not do",
        "sandbox": scorer.describe(),
    }
    return [replace(result, settings=facts) for result in results]


class _Scorer:
    """Runs programs with the stand-ins and scores replies."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.stand_ins = dict(benchmark.stand_ins)
        self.names = list(self.stand_ins)
        self.config = SandboxConfig(timeout_s=10, cpu_s=10)
        self.missing = ""  # why there is no sandbox
        self.num_in_sandbox = 0

    def describe(self) -> str:
        """Return in words what the sandbox had to do."""
        if self.missing:
            return f"not to be had, `solved` counts such programs as wrong: {self.missing}"
        return f"{self.num_in_sandbox} programs beyond the evaluator, level {self.config.level}"

    def execute(self, program: str | None, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the value of a program run in our way, and its variables."""
        if program is None:
            return None, state
        try:
            outcome, ran = execute(program, self.stand_ins, state, self.config)
        except UserError as error:
            if not self.missing:
                warn(f"hf_agent: {error}")
            self.missing = self.missing or str(error)
            return None, state
        self.num_in_sandbox += ran == "sandbox"
        return outcome.value, outcome.state


def _run_mode(
    setting: Setting,
    benchmark: Benchmark,
    tools: Sequence[StandInTool],
    templates: Templates,
    scorer: _Scorer,
    *,
    is_begun: bool = False,
) -> TaskResult:
    """Ask all tasks of one program, each in all its wordings."""
    asked = [
        (f"run_{i}_{wording}", problem, task)
        for i, problem in enumerate(benchmark.single)
        for wording, task in enumerate(problem.tasks)
    ]
    asked = draw(asked, setting)
    texts = [run_prompt(tools, task, templates.run) for _, _, task in asked]
    prompts = [_prompt(text, setting, is_begun=is_begun) for text in texts]
    replies = setting.model.reply(prompts, _options(RUN_STOPS, setting))
    items = []
    for (key, problem, _), prompt, reply in zip(asked, prompts, replies, strict=True):
        explanation, program = read_run_reply(reply.text, as_original=True)
        value = run_as_original(program or "", scorer.stand_ins, {}, problem.inputs)
        right = find_right(problem, scorer.stand_ins, [{} for _ in problem.answers])
        scores = score_reply(explanation, program, value, right, scorer.names)
        own = read_run_reply(reply.text)[1]
        own_value, _ = scorer.execute(own, dict(problem.inputs))
        scores["solved"] = float(own is not None and own_value in right.values)
        items.append(Item(key, prompt, list(problem.answers), reply.text, program, scores))
    return _result("run", items, task="hf_agent_run_begun" if is_begun else "hf_agent_run")


def _chat_mode(
    setting: Setting,
    benchmark: Benchmark,
    tools: Sequence[StandInTool],
    templates: Templates,
    scorer: _Scorer,
) -> TaskResult:
    """Take all chats a turn at a time, so that the model answers them together."""
    opening = chat_opening(tools, templates.chat)
    chats = [
        _Chat(f"chat_{i}_{wording}", wording, turns, opening)
        for i, turns in enumerate(benchmark.chats)
        for wording in range(len(turns[0].tasks))
    ]
    chats = draw(chats, setting)
    items = []
    for turn in range(max(len(chat.turns) for chat in chats)):
        going = [chat for chat in chats if len(chat.turns) > turn]
        texts = [c.history + chat_message(c.turns[turn].tasks[c.wording]) for c in going]
        prompts = [_prompt(text, setting) for text in texts]
        replies = setting.model.reply(prompts, _options(CHAT_STOPS, setting))
        for chat, text, prompt, reply in zip(going, texts, prompts, replies, strict=True):
            chat.history = f"{text}{reply.text}\n"
            items.append(_turn_item(chat, turn, prompt, reply.text, scorer))
    return _result("chat", items, task="hf_agent_chat")


def _turn_item(chat: _Chat, turn: int, prompt: Prompt, reply: str, scorer: _Scorer) -> Item:
    problem = chat.turns[turn]
    explanation, program = read_chat_reply(reply)
    value = run_as_original(program or "", scorer.stand_ins, chat.state, problem.inputs)
    while len(chat.right_states) < len(problem.answers):
        chat.right_states.append(dict(chat.right_states[0]) if chat.right_states else {})
    states = chat.right_states[: len(problem.answers)]
    right = find_right(problem, scorer.stand_ins, states)
    scores = score_reply(explanation, program, value, right, scorer.names)
    chat.own_state.update(problem.inputs)
    own_value, chat.own_state = scorer.execute(program, chat.own_state)
    scores["solved"] = float(program is not None and own_value in right.values)
    answers = list(problem.answers)
    group = f"turn {turn + 1}"
    return Item(f"{chat.id}_{turn}", prompt, answers, reply, program, scores, group)


def _result(mode: str, items: list[Item], *, task: str) -> TaskResult:
    return TaskResult(
        task=task,
        main="tool_selection",
        metrics=gather(items, [*METRICS, "solved"]),
        items=items,
        groups=gather_groups(items),
        published={
            model: {
                "value": selection,
                "tool_selection": selection,
                "tool_used": used,
                "code": code,
                "source": f"{SOURCE}, {mode} mode",
            }
            for model, (selection, used, code) in PUBLISHED[mode].items()
        },
    )


def _prompt(text: str, setting: Setting, *, is_begun: bool = False) -> Prompt:
    return in_conversation(text, is_begun=is_begun) if setting.is_chat else text


def _options(stop: tuple[str, ...], setting: Setting) -> Options:
    return Options(max_new_tokens=MAX_NEW_TOKENS, stop=stop, seed=setting.seed)
