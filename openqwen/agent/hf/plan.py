"""Which tools a program means to call, and whether the small part of Python is enough for it.

    plan = plan_program("text_reader(summarizer(text))", {"text_reader", "summarizer"})
    plan.tools, plan.beyond             # ["summarizer", "text_reader"], ""

Nothing is run: what goes beyond the part is known before a tool is called, so that no tool is
called twice where the sandbox takes the program over.
"""

import ast
from collections.abc import Collection
from dataclasses import dataclass

from openqwen.agent.hf.evaluator import BASE_TOOLS, SUPPORTED, parse

# what only stands inside nodes that are checked themselves
PARTS = (ast.Module, ast.expr_context, ast.keyword, ast.cmpop)


@dataclass(frozen=True)
class Plan:
    """What a program would do.

    Attributes:
        tools: names of the tools it calls, each once, in the order of the text.
        beyond: the first thing that the evaluator doesn't do; "" where it does all.
        trouble: why the text is no program; "" where it is one.
    """

    tools: list[str]
    beyond: str
    trouble: str


def plan_program(program: str, tools: Collection[str]) -> Plan:
    """Return what a program would call, without running it.

    Args:
        program: its text.
        tools: names of the tools that there are.
    """
    tree = parse(program)
    if isinstance(tree, str):
        return Plan([], "", tree)
    tests = {id(node.test) for node in ast.walk(tree) if isinstance(node, ast.If)}
    called, beyond = list[str](), ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in tools and node.id not in called:
            called.append(node.id)
        beyond = beyond or _beyond(node, tools, id(node) in tests)
    places = {name: program.index(name) for name in called}
    return Plan(sorted(called, key=places.__getitem__), beyond, "")


def _beyond(node: ast.AST, tools: Collection[str], is_test: bool) -> str:
    """Return what a node asks beyond the part; "" if nothing."""
    line = getattr(node, "lineno", 0)
    if is_test:
        single = isinstance(node, ast.Compare) and len(node.ops) == 1
        return "" if single else f"an if without one comparison (line {line})"
    if isinstance(node, PARTS):
        unnamed = isinstance(node, ast.keyword) and node.arg is None
        return f"** in a call (line {line})" if unnamed else ""
    if type(node) not in SUPPORTED:
        return f"{type(node).__name__} (line {line})"
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in tools and name not in BASE_TOOLS:
            return f"a call of {name or ast.unparse(node.func)[:40]} (line {line})"
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.For) else targets
    if not all(isinstance(target, ast.Name) for target in targets):
        return f"an assignment to more than a name (line {line})"
    if isinstance(node, ast.For) and node.orelse:
        return f"for … else (line {line})"
    if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        return f"a format in an f-string (line {line})"
    return ""
