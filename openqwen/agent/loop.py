"""The agent: asks the model, calls the tool it names, shows it the result, until it answers.

    trace = run_agent(model, [calculator], "What is 17 × 23?", AgentConfig(max_steps=5))
    trace.answer, trace.reason                 # "391", "answer"

It always ends: steps, seconds, new tokens, malformed calls and the model's context have limits, and
the trace names the one that was reached. A call that no tool can take, a tool that raises or takes
too long: the model reads of it as an observation.
"""

import importlib.metadata
import platform
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openqwen
from openqwen.agent.config import AgentConfig
from openqwen.agent.conversation import Conversation, Turn, open_conversation
from openqwen.agent.models import LocalModel, Message, Options, Reply, TextModel
from openqwen.agent.tools import (
    ArgumentError,
    Call,
    Tool,
    ToolError,
    ToolResult,
    check_tools,
    read_arguments,
)
from openqwen.agent.trace import Trace
from openqwen.core.config import to_plain
from openqwen.core.errors import UserError

Show = Callable[[str, str], None]
"""Takes what happens, for a person to see: `model` and a piece of text, or `observation`."""


@dataclass(frozen=True)
class _Outcome:
    """What became of a call: the text for the model, the tool's files, whether it was malformed."""

    text: str
    result: ToolResult | None = None
    problem: str | None = None


def run_agent(
    model: TextModel,
    tools: Sequence[Tool],
    query: str,
    config: AgentConfig | None = None,
    *,
    history: Sequence[Message] = (),
    folder: Path | None = None,
    show: Show | None = None,
) -> Trace:
    """Return the trace of a run, with the answer and the reason for its end.

    Args:
        model: any model.
        tools: what it may call.
        query: what it is asked.
        config: form and limits.
        history: earlier turns as plain messages of user and assistant.
        folder: keeps events, page and files.
        show: sees the run as it happens.

    Raises:
        UserError: if two tools have one name; what the model raises ends the run instead.
    """
    check_tools(tools)
    return _Run(model, tools, query, config or AgentConfig(), history, folder, show).go()


class _Run:
    """The state of one run."""

    def __init__(
        self,
        model: TextModel,
        tools: Sequence[Tool],
        query: str,
        config: AgentConfig,
        history: Sequence[Message],
        folder: Path | None,
        show: Show | None,
    ) -> None:
        self.model, self.config = model, config
        self.tools = {tool.name: tool for tool in tools}
        self.show: Show = show or (lambda kind, text: None)
        self.talk: Conversation = open_conversation(config.form, tools, query, history)
        self.trace = Trace(query, folder=folder)
        self.num_malformed = self.num_repeats = 0
        self.last_results: list[tuple[str, str, str]] = []
        self.trace.record(
            "start",
            query=query,
            model=model.name,
            form=config.form,
            tools=list(self.tools),
            definitions=[tool.definition() for tool in tools],
            settings=to_plain(config),
            versions=_versions(),
            prompt=self.talk.prompt(),
        )

    def go(self) -> Trace:
        """Ask and call until something ends it."""
        step = 0
        try:
            while True:
                reason = self._limit(step)
                if reason is not None:
                    return self.trace.finish(reason)
                step += 1
                reply = self._ask(step)
                if reply is None:
                    return self.trace.finish("seconds")
                turn = self.talk.read(reply)
                ended = self._end_of(reply, turn)
                if ended is not None:
                    return self.trace.finish(*ended)
                self._act(step, turn)
        except UserError as error:
            return self.trace.finish("error", error=str(error))
        except KeyboardInterrupt:
            return self.trace.finish("stopped")

    def _limit(self, step: int) -> str | None:
        """Return the limit that forbids another step, or None."""
        if self.num_malformed > self.config.max_malformed:
            return "malformed"
        if self.num_repeats >= self.config.max_repeats:
            return "repeats"
        if step >= self.config.max_steps:
            return "steps"
        if self.trace.num_new_tokens >= self.config.max_tokens:
            return "tokens"
        if self._seconds_left() <= 0:
            return "seconds"
        return "context" if self._room() < 1 else None

    def _ask(self, step: int) -> Reply | None:
        """Return the model's reply, or None if the time ran out in it."""
        config = self.config
        room = min(config.max_new_tokens, config.max_tokens - self.trace.num_new_tokens)
        options = Options(
            max_new_tokens=min(room, self._room()),
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed + step - 1,
        )
        began, said = time.monotonic(), list[str]()
        reply: Reply | None = None
        with closing(self.talk.ask(self.model, options)) as pieces:
            try:
                while self._seconds_left() > 0:
                    text = next(pieces)
                    said.append(text)
                    self.show("model", text)
            except StopIteration as end:
                reply = end.value
            finally:
                self._record_reply(step, reply, "".join(said), time.monotonic() - began)
        return reply

    def _record_reply(self, step: int, reply: Reply | None, said: str, seconds: float) -> None:
        """Record a reply, whole or as far as it came; an endpoint's missing counts are guessed."""
        counts = (reply.num_prompt_tokens, reply.num_new_tokens) if reply else (0, 0)
        num_new = counts[1] or -(-len(said) // 4)  # 4 characters a token, to bound the run anyhow
        self.trace.num_prompt_tokens += counts[0]
        self.trace.num_new_tokens += num_new
        self.trace.record(
            "reply",
            step=step,
            text=reply.text if reply else said,
            finish_reason=reply.finish_reason if reply else "cancelled",
            stop=reply.stop if reply else None,
            prompt_tokens=counts[0],
            new_tokens=num_new,
            counted=bool(counts[1]),
            seconds=round(seconds, 3),
        )

    def _end_of(self, reply: Reply, turn: Turn) -> tuple[str, str] | None:
        """Return why this reply ends the run and with which answer, or None if it calls tools.

        A reply cut at its length is not acted on and not asked for again: what it left out would
        only be guessed.
        """
        if reply.finish_reason == "length":
            spent = self.trace.num_new_tokens >= self.config.max_tokens
            return ("tokens" if spent else "truncated"), turn.answer or ""
        if reply.finish_reason == "error":
            return "error", ""
        if turn.answer is None:
            return None
        return ("plain answer" if turn.is_plain else "answer"), turn.answer

    def _act(self, step: int, turn: Turn) -> None:
        """Make a turn's calls and tell the model of their results."""
        results = []
        for call in turn.calls:
            began = time.monotonic()
            outcome = self._call(call)
            self.num_malformed += outcome.problem is not None
            files = self.trace.keep_files(outcome.result.files) if outcome.result else []
            text = shorten(outcome.text, self.config.max_observation_chars)
            results.append(text)
            self.trace.record(
                "call",
                step=step,
                name=call.name,
                arguments=call.arguments,
                problem=outcome.problem,
                observation=text,
                files=files,
                seconds=round(time.monotonic() - began, 3),
            )
            self.show("observation", text)
        made = [(c.name, c.arguments, text) for c, text in zip(turn.calls, results, strict=True)]
        self.num_repeats = self.num_repeats + 1 if made == self.last_results else 1
        self.last_results = made
        self.talk.observe(results)

    def _call(self, call: Call) -> _Outcome:
        """Return what a call gives; what is wrong with it is said in a sentence for the model."""
        if call.problem is not None:
            return _malformed(f"{call.problem}.")
        tool = self._find(call.name)
        if tool is None:
            known = ", ".join(self.tools) or "none"
            return _malformed(
                f"there is no tool {shorten(call.name, 60)!r}; the tools are: {known}."
            )
        try:
            arguments = read_arguments(tool, call.arguments)
        except ArgumentError as error:
            return _malformed(f"{error}. {_how_to_call(tool)}")
        limit_s = min(tool.timeout_s or self.config.tool_timeout_s, self._seconds_left())
        return _call_in_time(tool, arguments, limit_s)

    def _find(self, name: str) -> Tool | None:
        """Return a tool by its name, else by the name in other cases (as the metrics compare)."""
        near = [tool for key, tool in self.tools.items() if key.lower() == name.strip().lower()]
        return self.tools.get(name) or (near[0] if len(near) == 1 else None)

    def _seconds_left(self) -> float:
        return self.config.max_seconds - self.trace.seconds

    def _room(self) -> int:
        """Return the tokens that the model's context has left for a reply."""
        if not isinstance(self.model, LocalModel):
            return self.config.max_new_tokens  # an endpoint says so itself
        return self.model.lm.context - len(self.model.encode(self.talk.prompt()))


def shorten(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters: the middle of a longer one is left out."""
    if len(text) <= limit:
        return text
    left_out = len(text) - limit
    for _ in range(2):  # the note takes room, too
        note = f"\n… {left_out:,} characters left out …\n"
        kept = max(0, limit - len(note))
        left_out = len(text) - kept
    note = f"\n… {left_out:,} characters left out …\n"
    return text[: kept - kept // 2] + note + text[len(text) - kept // 2 :]


def _call_in_time(tool: Tool, arguments: dict[str, Any], limit_s: float) -> _Outcome:
    """Call a tool in a thread of its own; what raises or takes too long is told.

    A thread can't be ended: a tool that hangs goes on alone, and its result is lost. What must be
    ended runs in the sandbox, which has limits of its own.
    """
    found: list[_Outcome] = []

    def work() -> None:
        try:
            result = tool.call(arguments)
            found.append(_Outcome(result.text, result))
        except ArgumentError as error:
            found.append(_malformed(f"{error}."))
        except (ToolError, UserError) as error:
            found.append(_Outcome(f"Error: {error}."))
        except BaseException as error:  # a tool's own defect must not end the run
            found.append(_Outcome(f"Error: {tool.name} failed: {type(error).__name__}: {error}"))

    thread = threading.Thread(target=work, name=f"tool {tool.name}", daemon=True)
    thread.start()
    thread.join(max(0.0, limit_s))
    if not found:
        return _Outcome(f"Error: {tool.name} gave no result within {limit_s:.1f} s.")
    return found[0]


def _malformed(problem: str) -> _Outcome:
    return _Outcome(f"Error: {problem}", problem=problem)


def _how_to_call(tool: Tool) -> str:
    """Return a line that shows how a tool's arguments are written."""
    required = tool.parameters.get("required") or ()
    shown = ", ".join(
        f'"{name}": <{schema.get("type", "any")}{"" if name in required else ", optional"}>'
        for name, schema in tool.properties().items()
    )
    return f"Arguments of {tool.name} are written as {{{shown}}}"


def _versions() -> dict[str, str]:
    return {
        "openqwen": openqwen.__version__,
        "torch": importlib.metadata.version("torch"),
        "python": platform.python_version(),
    }
