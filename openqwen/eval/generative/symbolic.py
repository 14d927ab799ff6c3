"""Whether two formulas say the same, by SymPy; runs in a child process that may be ended.

    answer('{"is_equation": false, "first": ["num", "1"], "second": ["sym", "x"]}')   # "different"

Trees come from `latex_tree`; each node is looked up in a table and built by SymPy's own classes, so
that no text is ever evaluated. Powers of powers and factorials may still take for ever: the parent
gives this process a limit of time and memory (`openqwen.data.extraction.isolate`).
"""

import json
import re
from collections.abc import Callable
from typing import Any

EQUAL, DIFFERENT, UNKNOWN = "equal", "different", "unknown"
DIGITS = 40
TOLERANCE = 1e-30  # relative
_KNOWN = re.compile("sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|exp|floor")
NOTHING = 1e-60  # where a sum that is 0 ends up when it is computed to so many digits
# values of the unknowns at which both formulas are computed, mixed in sign so that |x| is not x
_POINTS = ((3, 7), (11, 5), (-13, 9), (-5, 3))


def answer(text: str) -> str:
    """Return whether two trees are equal as formulas, or as equations up to a constant factor."""
    import sympy  # type: ignore[import-untyped]

    call = json.loads(text)
    try:
        first, second = build(call["first"]), build(call["second"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return UNKNOWN
    if not call["is_equation"] and first == second:
        return EQUAL
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    if first.free_symbols != second.free_symbols and call["is_equation"]:
        return DIFFERENT
    values = []
    for number, (top, bottom) in enumerate(_POINTS):
        point = {
            symbol: sympy.Rational(top + 2 * place, bottom) + sympy.Rational(number, 17 + place)
            for place, symbol in enumerate(symbols)
        }
        values.append((_value(first, point), _value(second, point)))
        if not symbols:
            break
    known = [(a, b) for a, b in values if a is not None and b is not None]
    if len(known) < (1 if not symbols else 2) or any((a is None) != (b is None) for a, b in values):
        return UNKNOWN
    factor: Any = 1
    if call["is_equation"]:
        a, b = known[0]
        if abs(a) < NOTHING or abs(b) < NOTHING:
            return UNKNOWN
        factor = a / b
    same = all(
        abs(a - factor * b) <= max(NOTHING, TOLERANCE * min(abs(a), abs(factor * b)))
        for a, b in known
    )
    return EQUAL if same else DIFFERENT


def _value(formula: Any, point: dict[Any, Any]) -> Any:
    """Return a formula's value at a point, None where it has none."""
    import sympy

    value = sympy.N(formula.subs(point), DIGITS)
    if not value.is_number or value.has(sympy.nan, sympy.zoo, sympy.oo):
        return None
    return value


def build(tree: list[Any]) -> Any:
    """Return the SymPy expression of a tree.

    Raises:
        KeyError: if a node is no arithmetic (a set, a text, …).
    """
    import sympy

    kind, *rest = tree
    if kind == "num":
        return sympy.Rational(rest[0])
    if kind == "sym":
        constants = {"pi": sympy.pi, "infty": sympy.oo, "e": sympy.E, "i": sympy.I}
        return constants.get(rest[0]) or sympy.Symbol(rest[0])
    if kind == "fn":
        return _function(rest[0], rest[1:])
    table: dict[str, Callable[..., Any]] = {
        "add": lambda a, b: a + b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "pow": lambda a, b: a**b,
        "neg": lambda a: -a,
        "root": lambda index, a: sympy.root(a, index),
        "abs": sympy.Abs,
        "fact": sympy.factorial,
    }
    return table[kind](*map(build, rest))


def _function(name: str, arguments: list[Any]) -> Any:
    import sympy

    if arguments[0][0] in ("seq", "list"):
        arguments = arguments[0][-1]
    values = [build(argument) for argument in arguments]
    if name in ("log", "lg"):
        return sympy.log(values[0], values[1] if len(values) > 1 else 10)
    names = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "ceil": "ceiling", "ln": "log"}
    names |= {"max": "Max", "min": "Min", "binom": "binomial", "gcd": "gcd", "lcm": "lcm"}
    if name not in names and not _KNOWN.fullmatch(name):
        raise KeyError(name)
    return getattr(sympy, names.get(name, name))(*values)
