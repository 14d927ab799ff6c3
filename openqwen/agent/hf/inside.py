"""Runs inside the sandbox: one program, whose tools are calls to the host over two pipes.

    python inside.py        # first line in: {"program", "tools", "state"}; last line out: {"done"}

A line of JSON is a message. What JSON can't say of the host's values is a number here, `Held`; it
can be kept and handed back to a tool. This file stands alone: nothing of openqwen is there inside.
"""

import ast
import io
import json
import sys
from typing import Any, TextIO

HELD = "__held__"
MAX_SHOWN = 20_000


class Held:
    """A value that stays with the host."""

    def __init__(self, number: int, about: str) -> None:
        """Take its number there and what it is."""
        self.number, self.about = number, about

    def __repr__(self) -> str:
        return f"<{self.about} {self.number}>"


def pack(value: Any) -> Any:
    """Return a value as JSON can say it; what it can't say as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Held):
        return {HELD: value.number}
    if isinstance(value, list | tuple):
        return [pack(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: pack(each) for key, each in value.items()}
    return repr(value)[:MAX_SHOWN]


def unpack(value: Any) -> Any:
    """Return a value of a message, what the host holds as `Held`."""
    if isinstance(value, list):
        return [unpack(each) for each in value]
    if isinstance(value, dict):
        if HELD in value:
            return Held(value[HELD], str(value.get("about", "value")))
        return {key: unpack(each) for key, each in value.items()}
    return value


def proxy(name: str, reader: TextIO, writer: TextIO) -> Any:
    """Return a function that asks the host to call a tool."""

    def call(*args: Any, **named: Any) -> Any:
        message = {"call": name, "args": pack(args), "named": pack(named)}
        writer.write(json.dumps(message) + "\n")
        writer.flush()
        answer = json.loads(reader.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return unpack(answer["value"])

    call.__name__ = name
    return call


def run(program: str, names: dict[str, Any]) -> Any:
    """Run a program; return the value of its last statement where that is a value."""
    tree = ast.parse(program)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
        exec(compile(tree, "program", "exec"), names)
        return eval(compile(ast.Expression(last.value), "program", "eval"), names)
    exec(compile(tree, "program", "exec"), names)
    if isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name):
        return names.get(last.targets[0].id)
    return None


def main() -> None:
    """Serve one program."""
    reader, writer = sys.stdin, sys.stdout
    sys.stdout = printed = io.StringIO()
    sys.stdin = io.StringIO()
    task = json.loads(reader.readline())
    tools = {name: proxy(name, reader, writer) for name in task["tools"]}
    names = {**tools, **unpack(task["state"])}
    value, error = None, ""
    try:
        value = run(task["program"], names)
    except BaseException as raised:  # whatever ends it is told
        error = f"{type(raised).__name__}: {raised}"
    state = {
        key: pack(each)
        for key, each in names.items()
        if not key.startswith("__") and key not in tools and is_plain(each)
    }
    shown = printed.getvalue()[:MAX_SHOWN]
    done = {"value": pack(value), "error": error[:MAX_SHOWN], "state": state, "printed": shown}
    writer.write(json.dumps({"done": done}) + "\n")
    writer.flush()


def is_plain(value: Any) -> bool:
    """Return whether a variable can go back to the host as a value."""
    if isinstance(value, list | tuple):
        return all(is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, bool | int | float | str | Held)


if __name__ == "__main__":
    main()
