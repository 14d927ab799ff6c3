"""A small part of Python, interpreted node by node: the programs of the Hugging Face agent.

    outcome = evaluate("audio = text_reader(summary)", {"text_reader": read}, {"summary": "…"})
    outcome.value, outcome.error, outcome.state["audio"]

The part is that of transformers 4.37's `python_interpreter`: assignments to names, calls of the
tools that are given, constants, lists, dicts, subscripts, f-strings, `if` with one comparison and
`for` over a name. No attribute, import, operator or definition exists here, so nothing but the
tools can be reached. Work and size are bounded by one budget. Nothing here holds a program that
real Python runs: that is what the sandbox is for (`openqwen/agent/hf/sandboxed.py`).
"""

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

BUDGET = 100_000  # nodes visited, items and hundreds of characters made
MAX_PROGRAM = 20_000  # characters
CHARACTERS_A_STEP = 100
BASE_TOOLS: Mapping[str, Callable[..., Any]] = {
    "print": lambda *values: None,
    "range": range,
    "float": float,
    "int": int,
    "bool": bool,
    "str": str,
}
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
    ast.Lt: lambda left, right: left < right,
    ast.LtE: lambda left, right: left <= right,
    ast.Gt: lambda left, right: left > right,
    ast.GtE: lambda left, right: left >= right,
    ast.Is: lambda left, right: left is right,
    ast.IsNot: lambda left, right: left is not right,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


class RefusedError(Exception):
    """The program asks for what the evaluator doesn't do.

    Attributes:
        keeps_value: what statements before it gave still counts. The original dies of an
            AttributeError where it is False, and the program then has no value.
    """

    def __init__(self, message: str, *, keeps_value: bool = True) -> None:
        """Take what is shown to the model or the user."""
        super().__init__(message)
        self.keeps_value = keeps_value


class BudgetSpentError(Exception):
    """The program does or makes more than the budget allows."""


@dataclass(frozen=True)
class Outcome:
    """What a program came to.

    Attributes:
        value: of the last statement that gave one before an error; None where a tool raised or the
            program is no Python.
        kind: "" where it ran to its end, else `syntax`, `refused`, `raised` or `budget`.
        error: one line; "" without one.
        state: variables after it.
        calls: tools called, in order.
    """

    value: Any
    kind: str
    error: str
    state: dict[str, Any]
    calls: list[str] = field(default_factory=list)


def parse(program: str) -> ast.Module | str:
    """Return the tree of a program, or one line that says why it is none."""
    if len(program) > MAX_PROGRAM:
        return f"the program has {len(program):,} characters, more than {MAX_PROGRAM:,}"
    try:
        return ast.parse(program)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"the program can't be read: {error}"


def evaluate(
    program: str,
    tools: Mapping[str, Callable[..., Any]],
    state: Mapping[str, Any] | None = None,
    *,
    as_original: bool = False,
    budget: int = BUDGET,
) -> Outcome:
    """Run a program of the small part of Python.

    Args:
        program: its text.
        tools: the functions it may call, beside `BASE_TOOLS`; `print` prints nothing.
        state: variables it begins with; not changed.
        as_original: two habits of the original, for scores: an unknown variable is taken for the
            most similar one, and `a = b = value` shares the value's items out.
        budget: nodes visited plus what is made.

    Returns:
        the outcome; errors of the program and of tools are in it and never raised.
    """
    tree = parse(program)
    if isinstance(tree, str):
        return Outcome(None, "syntax", tree, dict(state or {}))
    run = _Run(dict(BASE_TOOLS) | dict(tools), dict(state or {}), as_original, budget)
    value, kind, error = None, "", ""
    try:
        for node in tree.body:
            found = run.statement(node)
            value = value if found is None else found
    except RefusedError as refusal:
        kind, error = "refused", str(refusal)
        value = value if refusal.keeps_value else None
    except BudgetSpentError as spent:
        value, kind, error = None, "budget", str(spent)
    except Exception as raised:  # a tool may raise anything
        value, kind, error = None, "raised", f"{type(raised).__name__}: {raised}"
    return Outcome(value, kind, error, run.state, run.calls)


class _Run:
    """One program's variables and what is left of its budget."""

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]],
        state: dict[str, Any],
        as_original: bool,
        budget: int,
    ) -> None:
        self.tools, self.state, self.as_original = tools, state, as_original
        self.left, self.calls = budget, list[str]()

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise BudgetSpentError("the program does more than its budget of steps allows")

    def statement(self, node: ast.AST) -> Any:
        """Run a statement, or evaluate an expression."""
        self.spend(1)
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None or type(node) not in SUPPORTED:
            raise RefusedError(f"{type(node).__name__} is not supported{_at(node)}")
        return method(node)

    def _expr(self, node: ast.Expr) -> Any:
        return self.statement(node.value)

    def _assign(self, node: ast.Assign) -> Any:
        value = self.statement(node.value)
        values = [value] * len(node.targets)
        if self.as_original and len(node.targets) > 1:
            if len(value) != len(node.targets):
                raise RefusedError(f"{len(node.targets)} values are expected{_at(node)}")
            values = value
        for target, each in zip(node.targets, values, strict=True):
            self.state[_name_of(target)] = each
        return value

    def _call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in self.tools or not isinstance(node.func, ast.Name):
            raise RefusedError(f"{name} is none of the tools{_at(node)}")
        args = [self.statement(argument) for argument in node.args]
        named = {str(k.arg): self.statement(k.value) for k in node.keywords if k.arg is not None}
        if len(named) < len(node.keywords):
            raise RefusedError(f"** is not supported{_at(node)}", keeps_value=False)
        for value in (*args, *named.values()):
            self.spend(self.weigh(value))  # what is turned into text is bounded first
        if name not in BASE_TOOLS:
            self.calls.append(name)
        return self.tools[name](*args, **named)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _dict(self, node: ast.Dict) -> Any:
        if None in node.keys:
            raise RefusedError(f"** is not supported{_at(node)}")
        keys = [self.statement(key) for key in node.keys if key is not None]
        made = dict(zip(keys, [self.statement(value) for value in node.values], strict=True))
        self.spend(self.weigh(made))
        return made

    def _list(self, node: ast.List) -> Any:
        made = [self.statement(element) for element in node.elts]
        self.spend(self.weigh(made))
        return made

    def _joinedstr(self, node: ast.JoinedStr) -> str:
        return "".join(str(self.statement(part)) for part in node.values)

    def _formattedvalue(self, node: ast.FormattedValue) -> str:
        if node.format_spec is not None:
            raise RefusedError(f"a format in an f-string is not supported{_at(node)}")
        value = self.statement(node.value)
        self.spend(self.weigh(value))
        return repr(value) if node.conversion == ord("r") else str(value)

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.state:
            return self.state[node.id]
        close = difflib.get_close_matches(node.id, list(self.state)) if self.as_original else []
        if not close:
            raise RefusedError(f"the variable {node.id} is not defined{_at(node)}")
        return self.state[close[0]]

    def _subscript(self, node: ast.Subscript) -> Any:
        index, value = self.statement(node.slice), self.statement(node.value)
        if isinstance(value, list | tuple):
            return value[int(index)]
        if index in value:
            return value[index]
        if self.as_original and isinstance(index, str) and isinstance(value, Mapping):
            for key in difflib.get_close_matches(index, [str(key) for key in value]):
                return value[key]
        raise RefusedError(f"{index!r} is no index here{_at(node)}")

    def _compare(self, node: ast.Compare) -> bool:
        if len(node.ops) > 1:
            raise RefusedError(f"only one comparison at a time is supported{_at(node)}")
        left, right = self.statement(node.left), self.statement(node.comparators[0])
        self.spend(self.weigh(right))  # a text may be looked for in a long range
        return COMPARISONS[type(node.ops[0])](left, right)

    def _if(self, node: ast.If) -> Any:
        if not isinstance(node.test, ast.Compare):
            raise RefusedError(
                f"an if without a comparison is not supported{_at(node)}", keeps_value=False
            )
        self.spend(1)
        return self.block(node.body if self._compare(node.test) else node.orelse)

    def _for(self, node: ast.For) -> Any:
        values, name, result = self.statement(node.iter), _name_of(node.target), None
        for value in values:
            self.spend(1)
            self.state[name] = value
            found = self.block(node.body)
            result = result if found is None else found
        return result

    def block(self, body: list[ast.stmt]) -> Any:
        """Run statements; return the last value that is not None."""
        result = None
        for node in body:
            found = self.statement(node)
            result = result if found is None else found
        return result

    def weigh(self, value: Any) -> int:
        """Return what a value counts as a tree, at most a little over the budget that is left."""
        total, waiting = 0, [value]
        while waiting and total <= self.left:
            item = waiting.pop()
            total += 1
            if isinstance(item, str | bytes):
                total += len(item) // CHARACTERS_A_STEP
            elif isinstance(item, list | tuple):
                waiting.extend(item[: self.left + 1])
            elif isinstance(item, Mapping):
                waiting.extend([*item.keys(), *item.values()])
            elif isinstance(item, range):
                total += len(item)
        return total


SUPPORTED = frozenset({
    ast.Assign, ast.Call, ast.Constant, ast.Dict, ast.Expr, ast.For, ast.FormattedValue, ast.If,
    ast.JoinedStr, ast.List, ast.Name, ast.Subscript,
})  # fmt: skip


def _name_of(target: ast.expr) -> str:
    if not isinstance(target, ast.Name):
        raise RefusedError(
            f"assigning to {ast.unparse(target)[:40]} is not supported{_at(target)}",
            keeps_value=False,
        )
    return target.id


def _at(node: ast.AST) -> str:
    line = getattr(node, "lineno", None)
    return f" (line {line})" if line else ""
