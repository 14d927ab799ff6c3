"""An agent in the terminal: questions in, the run as it happens out, a few commands.

    Terminal(model, tools, AgentConfig(), stdin=sys.stdin, stdout=sys.stdout).run()

What models and tools say is shown without control characters, so that it can't steer the terminal.
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

HELP = "/tools lists the tools, /trace shows the last run, /clear forgets, /quit leaves"
_CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}


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
        self._stdin, self._stdout = stdin, stdout
        self._is_terminal = stdin.isatty() and stdout.isatty()
        self._line_is_open = False

    def run(self) -> None:
        """Answer until the input ends or `/quit`; Ctrl-C ends a run and not the program."""
        if self._is_terminal:
            self._remark(f"{HELP}; Ctrl-C stops a run, Ctrl-D leaves")
        while True:
            try:
                line = self._read()
            except KeyboardInterrupt:
                self._remark("Ctrl-D or /quit leaves")
                continue
            except EOFError:
                return
            if line in ("/quit", "/exit"):
                return
            if line.startswith("/"):
                self._obey(line)
            elif line:
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
        self._remark(self.last.ending() + (f"; {folder}" if folder else ""))
        if self.last.reason == "error":
            self._remark(str(self.last.events[-1].get("error") or "the model gave an error"))
        if self.last.files and folder is None:
            names = ", ".join(self.last.files)
            self._remark(f"made {names}; --trace DIR keeps files")
        if self.last.answer:
            self.history += [
                {"role": "user", "content": query},
                {"role": "assistant", "content": self.last.answer},
            ]
        return self.last

    def _read(self) -> str:
        """Return the next line, stripped; on the program's own terminal with line editing."""
        if self._is_terminal and self._stdin.fileno() == 0 and self._stdout.fileno() == 1:
            import readline  # noqa: F401  (gives input() history and editing)

            return input("> ").strip()
        if self._is_terminal:
            self._write("> ")
        line = self._stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    def _obey(self, line: str) -> None:
        if line == "/tools":
            for tool in self.tools:
                self._write(describe_tool(tool) + "\n")
        elif line == "/trace":
            self._write(self.last.markdown() if self.last else "(no run yet)\n")
        elif line == "/clear":
            self.history = []
            self._remark("conversation forgotten")
        else:
            self._remark(f"{line.split()[0]} is not a command: {HELP}")

    def _show(self, kind: str, text: str) -> None:
        """Show a piece of the model's text, or a tool's observation on lines of its own."""
        if kind == "observation":
            text = ("\n" if self._line_is_open else "") + f"Observation: {text}\n"
            text += "Thought:" if self.config.form == "react" else ""
        self._write(text)

    def _remark(self, text: str) -> None:
        self._write(("\n" if self._line_is_open else "") + f"({text})\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._line_is_open = not text.endswith("\n")
        self._stdout.write(text.translate(_CONTROL))
        self._stdout.flush()


def next_folder(parent: Path) -> Path:
    """Return a folder for the next run, numbered after those in `parent`."""
    parent.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    return parent / f"{max(numbers, default=0) + 1:04}"
