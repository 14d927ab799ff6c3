"""The tools by name, opened and closed together.

with open_tools(["calculator", "search"], folder=Path("notes")) as tools:
    run_agent(model, tools, "…")
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from openqwen.agent.toolbox.calculator import calculate
from openqwen.agent.tools import Tool, check_tools, tool
from openqwen.core.errors import UserError

TOOLS = {
    "calculator": "arithmetic, exact where it can be",
    "files": "list_files and read_file in --folder, nothing outside it",
    "search": "full-text search over --folder",
    "plot": "an image of numbers, drawn in the sandbox",
    "python": "a Python session in the sandbox",
}


@contextlib.contextmanager
def open_tools(names: Sequence[str], folder: Path | None = None) -> Iterator[list[Tool]]:
    """Yield the named tools; what they hold open is closed at the end.

    Raises:
        UserError: one line if a name is unknown, a folder is missing or read by no tool, or this
            machine can't isolate what runs in the sandbox.
    """
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        raise UserError(f"no tool {unknown[0]!r}; there are: {', '.join(TOOLS)}")
    readers = [name for name in names if name in ("files", "search")]
    if readers and folder is None:
        raise UserError(f"the tool {readers[0]} needs --folder DIR")
    if folder is not None and not readers:
        raise UserError("--folder DIR goes with the tools files and search")
    with contextlib.ExitStack() as stack:
        tools: list[Tool] = []
        for name in dict.fromkeys(names):
            tools += _open(name, folder, stack)
        check_tools(tools)
        yield tools


def calculator_tool() -> Tool:
    """Return the tool `calculator`."""

    def calculator(expression: str) -> str:
        """Compute an arithmetic expression exactly.

        Args:
            expression: such as (3.5 + 2) * 4; also sqrt, log, round, pi and others
        """
        return calculate(expression)

    return tool(calculator)


def _open(name: str, folder: Path | None, stack: contextlib.ExitStack) -> list[Tool]:
    if name == "calculator":
        return [calculator_tool()]
    if name == "files" and folder is not None:
        from openqwen.agent.toolbox.files import file_tools

        return file_tools(folder)
    if name == "search" and folder is not None:
        from openqwen.agent.toolbox.search import search_tool

        return [search_tool(folder)]
    if name == "plot":
        from openqwen.agent.toolbox.plot import plot_tool

        return [plot_tool()]
    from openqwen.agent.interpreter.session import Interpreter
    from openqwen.agent.interpreter.tool import interpreter_tool

    return [interpreter_tool(stack.enter_context(Interpreter()))]
