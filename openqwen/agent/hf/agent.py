"""An agent that writes a program over tools and runs it (Table 9's Hugging Face agent).

    agent = HfAgent(open_model("my-chat"), tools)
    agent.run("Summarise `text`, then read it aloud.", text=article).value
    agent.chat("Translate `text` into German.", text=article)
    agent.chat("Now read it aloud.")                 # variables of earlier programs are there

A tool has a name, a description and a function. The program is planned first, without running it:
what the small part of Python can do (`openqwen/agent/hf/evaluator.py`) is interpreted here;
anything else runs in the sandbox, or not at all where there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from openqwen.agent.hf.evaluator import Outcome, evaluate
from openqwen.agent.hf.plan import plan_program
from openqwen.agent.hf.prompt import (
    CHAT_STOPS,
    RUN_STOPS,
    Described,
    Templates,
    chat_message,
    chat_opening,
    in_conversation,
    read_chat_reply,
    read_run_reply,
    run_prompt,
)
from openqwen.agent.hf.sandboxed import run_sandboxed
from openqwen.agent.models import Options, Prompt, TextModel
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.core.errors import UserError

MAX_NEW_TOKENS = 256


class HfTool(Described, Protocol):
    """A tool as programs call it."""

    @property
    def function(self) -> Callable[..., Any] | None:
        """Return what is called."""
        ...


@dataclass(frozen=True)
class Done:
    """What became of one task.

    Attributes:
        explanation: what the model said before the program.
        program: None where the reply held none.
        value: of the program's last statement.
        error: one line; "" without one.
        ran: `evaluator`, `sandbox`, or "" where nothing ran.
        calls: tools called, in order.
        state: variables afterwards.
        prompt: what the model got.
        reply: what it wrote.
    """

    explanation: str
    program: str | None
    value: Any
    error: str
    ran: str
    calls: Sequence[str]
    state: dict[str, Any] = field(repr=False)
    prompt: Prompt = field(repr=False)
    reply: str = field(repr=False)


class HfAgent:
    """Solves tasks by programs over a set of tools."""

    def __init__(
        self,
        model: TextModel,
        tools: Sequence[HfTool],
        *,
        templates: Templates | None = None,
        sandbox: SandboxConfig | None = None,
        is_chat: bool = True,
        is_begun: bool = True,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        """Take a model and tools.

        Args:
            model: writes the programs.
            tools: of `openqwen/agent/tools.py`, or anything with name, description, function.
            templates: prompts; None takes ours.
            sandbox: its limits and level, for programs beyond the evaluator.
            is_chat: the prompt is a user's message; else a text that the model continues.
            is_begun: in run mode the first words of the reply are put into the assistant's turn;
                False for endpoints that can't go on with a turn.
            max_new_tokens: of a reply.

        Raises:
            UserError: if a tool has no function.
        """
        lacking = [tool.name for tool in tools if tool.function is None]
        if lacking:
            raise UserError(f"the tool {lacking[0]} is only described: it has no function to call")
        self.model, self.tools = model, list(tools)
        self.is_chat, self.is_begun = is_chat, is_begun
        self.templates = templates or Templates()
        self.sandbox = sandbox or SandboxConfig()
        self.max_new_tokens = max_new_tokens
        self.new_chat()

    def new_chat(self) -> None:
        """Forget messages and variables."""
        self.history = chat_opening(self.tools, self.templates.chat)
        self.state: dict[str, Any] = {}

    def run(self, task: str, **inputs: Any) -> Done:
        """Solve one task with one program; `inputs` are variables the task names."""
        prompt = self._prompt(run_prompt(self.tools, task, self.templates.run))
        reply = self._ask(prompt, RUN_STOPS)
        explanation, program = read_run_reply(reply)
        return self._done(explanation, program, inputs, prompt, reply)

    def chat(self, task: str, **inputs: Any) -> Done:
        """Solve the next task of a chat; variables of earlier programs keep their values."""
        text = self.history + chat_message(task)
        prompt = self._prompt(text)
        reply = self._ask(prompt, CHAT_STOPS)
        self.history = f"{text}{reply.strip()}\n"
        explanation, program = read_chat_reply(reply)
        done = self._done(explanation, program, self.state | inputs, prompt, reply)
        self.state = done.state
        return done

    def _prompt(self, text: str) -> Prompt:
        return in_conversation(text, is_begun=self.is_begun) if self.is_chat else text

    def _ask(self, prompt: Prompt, stop: tuple[str, ...]) -> str:
        options = Options(max_new_tokens=self.max_new_tokens, stop=stop)
        return self.model.reply([prompt], options)[0].text

    def _done(
        self,
        explanation: str,
        program: str | None,
        state: dict[str, Any],
        prompt: Prompt,
        reply: str,
    ) -> Done:
        if program is None:
            error = "the reply holds no program"
            return Done(explanation, None, None, error, "", [], state, prompt, reply)
        functions = {t.name: t.function for t in self.tools if t.function is not None}
        outcome, ran = execute(program, functions, state, self.sandbox)
        return Done(
            explanation, program, outcome.value, outcome.error, ran, outcome.calls,
            outcome.state, prompt, reply,
        )  # fmt: skip


def execute(
    program: str,
    functions: dict[str, Callable[..., Any]],
    state: dict[str, Any],
    sandbox: SandboxConfig,
) -> tuple[Outcome, str]:
    """Run a program where it can be run; return its outcome and whether that was the sandbox.

    Raises:
        UserError: if it goes beyond the evaluator and this machine has no sandbox.
    """
    plan = plan_program(program, functions)
    if not plan.beyond:
        return evaluate(program, functions, state), "evaluator"
    return run_sandboxed(program, functions, state, sandbox), "sandbox"
