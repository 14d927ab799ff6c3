"""An agent in the terminal: questions in, the run as it happens out, a few commands.

Terminal(model, tools, AgentConfig(), stdin=sys.stdin, stdout=sys.stdout).run()
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from openqwen.agent.config import AgentConfig
from openqwen.agent.loop import run_agent
from openqwen.agent.models import Message, TextModel
from openqwen.agent.react import describe_tool
from openqwen.agent.tools import Tool
from openqwen.agent.trace import Trace
from openqwen.infer.terminal_text import TerminalText

HELP = "/tools lists the tools, /trace shows the last run, /clear forgets, /quit leaves"


class Terminal:
    """One conversation with an agent over a pair of text streams."""

    def __init__(
        self,
        model: TextModel,
        tools: Sequence[Tool],
        config: AgentConfig,
        *,
        stdin: TextIO,
        stdout: TextIO,
        folder: Path | None = None,
    ) -> None:
        """Start with an empty history; each run's trace goes to a numbered folder in `folder`."""
        self.model, self.tools, self.config, self.folder = model, tools, config, folder
        self.history: list[Message] = []
        self.last: Trace | None = None
        self._text = TerminalText(stdin, stdout)

    def run(self) -> None:
        """Answer until the input ends or `/quit`; Ctrl-C ends a run and not the program."""
        if self._text.is_terminal:
            self._text.remark(f"{HELP}; Ctrl-C stops a run, Ctrl-D leaves")
        for line in self._text.lines(leaving="/quit"):
            if line in ("/quit", "/exit"):
                return
            if line.startswith("/"):
                self._obey(line)
            else:
                self.ask(line)

    def ask(self, query: str) -> Trace:
        """Run the agent on a question, shown as it happens; an answer joins the history."""
        folder = None if self.folder is None else next_folder(self.folder)
        self.last = run_agent(
            self.model,
            self.tools,
            query,
            self.config,
            history=self.history,
            folder=folder,
            show=self._show,
        )
        self._text.remark(self.last.ending() + (f"; {folder}" if folder else ""))
        if self.last.reason == "error":
            self._text.remark(self.last.error)
        if self.last.files and folder is None:
            names = ", ".join(self.last.files)
            self._text.remark(f"made {names}; --trace DIR keeps files")
        if self.last.answer:
            self.history += [
                {"role": "user", "content": query},
                {"role": "assistant", "content": self.last.answer},
            ]
        return self.last

    def _obey(self, line: str) -> None:
        if line == "/tools":
            for tool in self.tools:
                self._text.write(describe_tool(tool) + "\n")
        elif line == "/trace":
            self._text.write(self.last.markdown() if self.last else "(no run yet)\n")
        elif line == "/clear":
            self.history = []
            self._text.remark("conversation forgotten")
        else:
            self._text.remark(f"{line.split()[0]} is not a command: {HELP}")

    def _show(self, kind: str, text: str) -> None:
        """Show a piece of the model's text, or a tool's observation on lines of its own."""
        if kind == "observation":
            text = ("\n" if self._text.line_is_open else "") + f"Observation: {text}\n"
            text += "Thought:" if self.config.form == "react" else ""
        self._text.write(text)


def next_folder(parent: Path) -> Path:
    """Return a folder for the next run, numbered after those in `parent`."""
    parent.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    return parent / f"{max(numbers, default=0) + 1:04}"
