"""An answer with tools: the agent in a thread, what it does told to the page as it happens.

async for answer in run_tools(model, talk, names, session, form="react"):
    answer.steps, answer.content
"""

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from openqwen.agent.config import AgentConfig, Form
from openqwen.agent.interpreter.tool import describe_interpreter, interpreter_tool
from openqwen.agent.loop import run_agent
from openqwen.agent.models import TextModel
from openqwen.agent.toolbox.catalogue import calculator_tool
from openqwen.agent.toolbox.plot import plot_tool
from openqwen.agent.tools import Tool, ToolResult
from openqwen.agent.trace import ENDINGS, Trace
from openqwen.serve.chat.live import split_live
from openqwen.serve.chat.replies import pick_seed, sampling
from openqwen.serve.chat.sessions import Session
from openqwen.serve.chat.talk import Ending, Message, Step, Talk, as_data_url
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Service
from openqwen.serve.text_model import ServedTextModel

MAX_IMAGE_BYTES = 400_000  # of one image that is shown


def open_text_model(
    service: Service, served: ServedModel, talk: Talk, session: Session, client: str
) -> TextModel:
    """Return the model as agents ask it; it stops when the tab's answer is stopped."""
    model = ServedTextModel(service, served, client, **sampling(talk.choices))
    session.on_stop(model.cancel)
    return model


def form_of(served: ServedModel) -> Form:
    """Return the form of tool use that a model knows: Qwen2.5's where it has its token."""
    tokenizer = served.lm.tokenizer
    knows = tokenizer is not None and "<tool_call>" in tokenizer.control_tokens
    return "tool_call" if knows else "react"


async def run_tools(
    model: TextModel, talk: Talk, names: Sequence[str], session: Session, *, form: Form
) -> AsyncIterator[Message]:
    """Yield the answer to a conversation, again and again until it has ended.

    Raises:
        UserError: if the model can't be asked, or the machine can't isolate programs.
    """
    loop, news = asyncio.get_running_loop(), asyncio.Queue[Callable[["_Answer"], None]]()

    def push(change: Callable[["_Answer"], None]) -> None:
        loop.call_soon_threadsafe(news.put_nowait, change)

    run = _Run(model, talk, names, session, form, push)
    threading.Thread(target=run.go, name="agent of a tab", daemon=True).start()
    session.on_stop(run.stop)
    session.on_stop(lambda: push(_Answer.stop))
    answer = _Answer(form)
    while not answer.is_ended:
        (await news.get())(answer)
        yield answer.message()


class _Answer:
    """The answer so far; changed in the event loop only."""

    def __init__(self, form: Form) -> None:
        self.form, self.steps, self.live = form, list[Step](), ""
        self.content, self.error = "", ""
        self.ending: Ending = ""
        self.num_prompt = self.num_new = 0
        self.is_ended = False
        self._writing_s, self._began = 0.0, 0.0

    def add(self, text: str) -> None:
        self._began = self._began or time.monotonic()
        self.live += text

    def call(self, step: Step) -> None:
        thought, _ = split_live(self.live, self.form)
        self._rest()
        self.steps.append(step.model_copy(update={"thought": thought}))

    def result(self, changes: dict[str, Any]) -> None:
        self.steps[-1] = self.steps[-1].model_copy(update=changes)

    def observed(self, text: str) -> None:
        """Show what the model read of a call that reached no tool."""
        if not self.live:
            return
        self.call(Step(name="?", arguments=self.live.strip(), output=text))

    def end(self, trace: Trace) -> None:
        self._rest()
        self.num_prompt, self.num_new = trace.num_prompt_tokens, trace.num_new_tokens
        self.content, self.is_ended = trace.answer, True
        if trace.is_answered:
            self.ending = "stop"
        elif trace.reason in ("truncated", "tokens"):
            self.ending = "length"
        else:
            self.ending = "error"
            self.error = f"failed:{trace.error or ENDINGS.get(trace.reason, trace.reason)}"

    def stop(self) -> None:
        self.is_ended, self.ending = True, "stopped"
        self.content = split_live(self.live, self.form)[1]

    def message(self) -> Message:
        content, steps = self.content, list(self.steps)
        if self.live and not self.is_ended:
            thought, content = split_live(self.live, self.form)
            if not content:
                steps.append(Step(name="", thought=thought))
        if self.is_ended:
            steps = [s if s.output is not None else s.model_copy(update={"output": ""})
                     for s in steps]  # fmt: skip
        return Message(
            role="assistant",
            content=content,
            steps=tuple(steps),
            ending=self.ending,
            error=self.error,
            prompt_tokens=self.num_prompt,
            new_tokens=self.num_new,
            seconds=self._writing_s,
        )

    def _rest(self) -> None:
        if self._began:
            self._writing_s += time.monotonic() - self._began
        self.live, self._began = "", 0.0


class _Run:
    """The agent's thread."""

    def __init__(
        self,
        model: TextModel,
        talk: Talk,
        names: Sequence[str],
        session: Session,
        form: Form,
        push: Callable[[Callable[[_Answer], None]], None],
    ) -> None:
        self._model, self._session, self._push = model, session, push
        *self._history, last = talk.history()
        self._query = last["content"]
        self._tools = [self._told(tool) for tool in self._open(names)]
        self._is_stopped = self._in_python = False
        choices = talk.choices
        self._config = AgentConfig(
            form=form,
            max_new_tokens=choices.max_tokens,
            temperature=choices.temperature,
            top_p=choices.top_p,
            seed=pick_seed(choices),
        )

    def go(self) -> None:
        """Run the agent to its end, whatever it is."""
        try:
            trace = run_agent(
                self._model, self._tools, self._query, self._config, history=self._history,
                show=self._show,
            )  # fmt: skip
        except BaseException as error:  # the page waits for an end
            trace = Trace(self._query).finish("error", error=f"{type(error).__name__}: {error}")
        self._push(lambda answer: answer.end(trace))

    def stop(self) -> None:
        """End the run; a program that runs in the Python session takes its variables along."""
        self._is_stopped = True
        if self._in_python:
            self._session.interrupt_interpreter()

    def _show(self, kind: str, text: str) -> None:
        if self._is_stopped:
            raise KeyboardInterrupt  # what ends an agent's run
        if kind == "observation":
            self._push(lambda answer: answer.observed(text))
        else:
            self._push(lambda answer: answer.add(text))

    def _open(self, names: Sequence[str]) -> list[Tool]:
        made = {"calculator": calculator_tool, "plot": plot_tool, "python": self._python}
        return [made[name]() for name in names]

    def _python(self) -> Tool:
        """Return the interpreter's tool; the tab's session is opened by its first call."""

        def code_interpreter(code: str) -> ToolResult:
            with self._session.interpreter() as python:
                self._in_python = True
                try:
                    function = interpreter_tool(python).function
                    assert function is not None
                    result: ToolResult = function(code=code)
                    return result
                finally:
                    self._in_python = False

        return dataclasses.replace(describe_interpreter(), function=code_interpreter)

    def _told(self, tool: Tool) -> Tool:
        """Return a tool whose calls and results the page sees."""
        function = tool.function
        assert function is not None

        def call(**arguments: Any) -> Any:
            step = Step(name=tool.name, arguments=_written(arguments))
            self._push(lambda answer: answer.call(step))
            began = time.monotonic()
            changes: dict[str, Any] = {"output": ""}
            try:
                result = function(**arguments)
                is_result = isinstance(result, ToolResult)
                changes["output"] = result.text if is_result else str(result)
                changes["images"] = _images(result) if is_result else ()
                return result
            except Exception as error:
                changes["output"] = f"Error: {error}"
                raise
            finally:
                changes["seconds"] = time.monotonic() - began
                self._push(lambda answer: answer.result(changes))

        return dataclasses.replace(tool, function=call)


def _written(arguments: dict[str, Any]) -> str:
    if set(arguments) == {"code"}:
        return str(arguments["code"])
    return json.dumps(arguments, ensure_ascii=False)


def _images(result: ToolResult) -> tuple[str, ...]:
    pngs = [data for data in result.files.values() if data.startswith(b"\x89PNG")]
    return tuple(as_data_url(png) if len(png) <= MAX_IMAGE_BYTES else "" for png in pngs)
