"""A run's conversation in each form: what the model is asked, how its reply is read and answered.

    talk = open_conversation("react", tools, "17 × 23?")
    reply = yield from talk.ask(model, options)
    turn = talk.read(reply)                     # Turn(calls=(Call("calculator", …),))
    talk.observe(["391"])

A turn that was malformed is answered like any other: its observation says what was wrong.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from openqwen.agent.config import Form
from openqwen.agent.functions import assistant_message, complete, read_calls, tool_message
from openqwen.agent.models import Message, Options, Prompt, Reply, TextModel
from openqwen.agent.react import STOPS, observation_text, parse_react, react_prompt
from openqwen.agent.tool_call import parse_tool_calls, render_tool_messages
from openqwen.agent.tools import Call, Tool


@dataclass(frozen=True)
class Turn:
    """What a reply does: it calls tools, or it answers.

    Attributes:
        calls: in order; empty where it answers.
        answer: None where it calls.
        thought: what it says besides.
        is_plain: it answers without the form's headings.
    """

    calls: tuple[Call, ...] = ()
    answer: str | None = None
    thought: str = ""
    is_plain: bool = False


class Conversation(Protocol):
    """One run's conversation."""

    def prompt(self) -> Prompt:
        """Return what the model is asked now, for the trace and for counting."""
        ...

    def ask(self, model: TextModel, options: Options) -> Generator[str, None, Reply]:
        """Yield the model's next reply in pieces."""
        ...

    def read(self, reply: Reply) -> Turn:
        """Take the reply into the conversation and return what it does."""
        ...

    def observe(self, results: Sequence[str]) -> None:
        """Put the results of the last turn's calls into the conversation, in order."""
        ...


class ReactConversation:
    """ReAct: the prompt in the user's turn; the assistant's turn goes on after an observation."""

    def __init__(self, tools: Sequence[Tool], query: str, history: Sequence[Message]) -> None:
        """Take tools, the question, and earlier turns as plain messages."""
        question = react_prompt(tools, query)
        self._messages: list[Message] = [*history, {"role": "user", "content": question}]
        self._begun = ""

    def prompt(self) -> Prompt:
        """Return the conversation, with the assistant's turn as far as it has come."""
        if not self._begun:
            return self._messages
        return [*self._messages, {"role": "assistant", "content": self._begun}]

    def ask(self, model: TextModel, options: Options) -> Generator[str, None, Reply]:
        """Yield the reply up to `Observation`, which never shows."""
        return (yield from model.stream(self.prompt(), replace(options, stop=STOPS)))

    def read(self, reply: Reply) -> Turn:
        """Return the call, the final answer, or a reply without headings as the answer."""
        step = parse_react(reply.text)
        self._begun += step.text.rstrip()
        if step.action is not None:
            return Turn((Call(step.action, step.action_input),), thought=step.thought)
        if step.final is not None:
            return Turn(answer=step.final, thought=step.thought)
        return Turn(answer=step.thought, is_plain=True)

    def observe(self, results: Sequence[str]) -> None:
        """Append the observation; a turn has one call."""
        self._begun += observation_text("\n".join(results))


class CallConversation:
    """Messages with calls and results: Qwen2.5's form as text, or OpenAI's at an endpoint."""

    def __init__(
        self, tools: Sequence[Tool], query: str, history: Sequence[Message], *, native: bool
    ) -> None:
        """Take tools, the question and earlier turns; `native` leaves the form to the model."""
        self._tools, self._native = tools, native
        self._messages: list[Mapping[str, Any]] = [*history, {"role": "user", "content": query}]
        self._calls: tuple[Call, ...] = ()
        self._completed: Mapping[str, Any] = {}

    def prompt(self) -> Prompt:
        """Return the conversation as Qwen2.5's template writes it."""
        return render_tool_messages(self._messages, self._tools)

    def ask(self, model: TextModel, options: Options) -> Generator[str, None, Reply]:
        """Yield the reply; one in OpenAI's form comes in one piece."""
        if not self._native:
            return (yield from model.stream(self.prompt(), options))
        response = complete(model, self._messages, self._tools, options)
        choice, usage = response["choices"][0], response.get("usage") or {}
        self._completed = choice.get("message") or {}
        text = self._completed.get("content") or ""
        for call in read_calls(self._completed):
            text += f"{call.name}({call.arguments})\n"
        if text:
            yield text
        reason = "length" if choice.get("finish_reason") == "length" else "stop"
        counts = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        return Reply(text, reason, None, *counts)

    def read(self, reply: Reply) -> Turn:
        """Return the calls, or the text as the answer."""
        if self._native:
            content = self._completed.get("content") or ""
            calls = read_calls(self._completed)
        else:
            called = parse_tool_calls(reply.text, bare=bool(self._tools))
            content, calls = called.content, called.calls
        readable = tuple(call for call in calls if call.problem is None)
        if (
            len(readable) < len(calls) or not calls
        ):  # as written, so that the model sees its mistake
            self._messages.append({"role": "assistant", "content": reply.text})
            self._calls = calls
        else:
            message = assistant_message(content, calls)
            self._messages.append(message)
            self._calls = read_calls(message)
        if not calls:
            return Turn(answer=content)
        return Turn(self._calls, thought=content)

    def observe(self, results: Sequence[str]) -> None:
        """Append a message of the role `tool` for each call.

        OpenAI's API takes them after calls only; what was no call it hears of from the user.
        """
        if self._native and "tool_calls" not in self._messages[-1]:
            self._messages.append({"role": "user", "content": "\n".join(results)})
            return
        for call, text in zip(self._calls, results, strict=True):
            self._messages.append(tool_message(call, text))


def open_conversation(
    form: Form, tools: Sequence[Tool], query: str, history: Sequence[Message] = ()
) -> Conversation:
    """Return a new conversation in a form."""
    if form == "react":
        return ReactConversation(tools, query, history)
    return CallConversation(tools, query, history, native=form == "functions")
