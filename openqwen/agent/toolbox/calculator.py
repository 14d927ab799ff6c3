"""Arithmetic, exact where it can be: whole numbers and fractions, else 50 digits.

    calculate("17 * 23")              # "391"
    calculate("1/3 + 1/6")            # "1/2 (0.5)"
    calculate("sqrt(2)")              # "1.4142135623730950488…"

Reads an expression with `ast` and computes it itself; nothing is evaluated by Python.
"""

import ast
import decimal
import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from openqwen.agent.tools import ToolError

MAX_CHARS, MAX_DEPTH = 500, 60
MAX_BITS = 14_000  # of a whole number on the way: 4,200 digits, as many as Python prints
MAX_EXPONENT = 10_000  # of a decimal
MAX_DIGITS = 60  # shown of a decimal
Number = Fraction | Decimal

_SIGNS = {
    "×": "*",
    "·": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "^": "**",
    "（": "(",
    "）": ")",
    "，": ",",
}


class CalculatorError(ToolError):
    """An expression that can't be computed: one line."""


def calculate(expression: str) -> str:
    """Return the value of an expression as text.

    Known are + - * / // % ** (also × ÷ ^), brackets, a percent sign after a number, pi, e, and abs,
    round, floor, ceil, sqrt, exp, log, log2, log10, sin, cos, tan, min, max, sum, gcd, lcm,
    factorial, comb.

    Raises:
        CalculatorError: one line: what is not understood, too large, or undefined.
    """
    if len(expression) > MAX_CHARS:
        raise CalculatorError(f"the expression has {len(expression):,} characters, at most 500")
    text = "".join(_plain(char) for char in expression).strip().removesuffix("=").strip()
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))(?![^()]*\))", "", text)  # 1,234 outside of arguments
    text = re.sub(r"(\d)\s*%(?!\s*[\w.(+-])", r"\1/100", text)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise CalculatorError(f"{expression!r} is not an arithmetic expression") from None
    with decimal.localcontext(prec=50):
        try:
            return _show(_value(tree.body, text, 0))
        except ZeroDivisionError:
            raise CalculatorError("division by zero") from None
        except decimal.DecimalException as error:
            name = type(error).__name__.lower()
            raise CalculatorError(f"the result is not a number ({name})") from None


def _plain(char: str) -> str:
    """Return an ASCII character for a full-width one, and Python's sign for another's."""
    if "\uff01" <= char <= "\uff5e":
        char = chr(ord(char) - 0xFEE0)
    return _SIGNS.get(char, char)


def _value(node: ast.expr, text: str, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise CalculatorError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _literal(ast.get_source_segment(text, node) or "")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, text, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left = _value(node.left, text, depth + 1)
        right = _value(node.right, text, depth + 1)
        return _bounded(_operate(node.op, left, right))
    if isinstance(node, ast.Name) and node.id in _constants():
        return _constants()[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        name = node.func.id
        given = node.args
        if len(given) == 1 and isinstance(given[0], ast.List | ast.Tuple):
            given = given[0].elts
        return _bounded(_apply(name, [_value(each, text, depth + 1) for each in given]))
    shown = ast.unparse(node)
    raise CalculatorError(f"{shown[:60]!r} is not arithmetic that this calculator knows")


def _literal(written: str) -> Number:
    """Return a number as it was written: 0.1 is one tenth, and no digit is lost."""
    if re.fullmatch(r"[\d_]+|0[xobXOB]\w+", written):
        return _bounded(Fraction(int(written, 0)))
    exact = _bounded(Decimal(written.replace("_", "")))
    return Fraction(exact) if abs(_decimal(exact).adjusted()) <= 1000 else exact


def _operate(operator: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(operator, ast.Pow):
        return _power(left, right)
    if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        left, right = _decimal(left), _decimal(right)
        if type(operator) in (ast.FloorDiv, ast.Mod):
            left, right = _exact(left), _exact(right)
    known: dict[type[ast.operator], Callable[[], Number]] = {
        ast.Add: lambda: left + right,  # type: ignore[operator]
        ast.Sub: lambda: left - right,  # type: ignore[operator]
        ast.Mult: lambda: left * right,  # type: ignore[operator]
        ast.Div: lambda: left / right,  # type: ignore[operator]
        ast.FloorDiv: lambda: Fraction(math.floor(left / right)),  # type: ignore[operator]
        ast.Mod: lambda: left - right * Fraction(math.floor(left / right)),  # type: ignore[operator]
    }
    if type(operator) not in known:
        raise CalculatorError("known operators are + - * / // % **")
    return known[type(operator)]()


def _power(base: Number, exponent: Number) -> Number:
    """Return a power; exact for whole exponents as far as the result stays within bounds."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        times = abs(int(exponent))
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base in (0, 1, -1) or bits * times <= MAX_BITS:
            if base == 0 and exponent < 0:
                raise ZeroDivisionError
            return Fraction(base) ** int(exponent) if times <= MAX_BITS else base ** (times % 2)
    return _decimal(base) ** _decimal(exponent)


def _apply(name: str, given: list[Number]) -> Number:
    functions = _functions()
    if name not in functions:
        raise CalculatorError(f"no function {name}; there are: {', '.join(functions)}")
    if len({type(each) for each in given}) > 1:
        given = [_decimal(each) for each in given]
    try:
        return functions[name](*given)
    except OverflowError:
        raise CalculatorError("a number is too large") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, CalculatorError):
            raise
        raise CalculatorError(f"{name} does not take {len(given)} numbers like these") from None


def _functions() -> dict[str, Callable[..., Number]]:
    return {
        "abs": abs,
        "round": _round,
        "floor": lambda x: Fraction(math.floor(x)),
        "ceil": lambda x: Fraction(math.ceil(x)),
        "sqrt": _root,
        "exp": lambda x: _decimal(x).exp(),
        "log": lambda x, base=None: _decimal(x).ln() / (_decimal(base).ln() if base else 1),
        "ln": lambda x: _decimal(x).ln(),
        "log2": lambda x: _decimal(x).ln() / Decimal(2).ln(),
        "log10": lambda x: _decimal(x).log10(),
        "sin": lambda x: _float(math.sin, x),
        "cos": lambda x: _float(math.cos, x),
        "tan": lambda x: _float(math.tan, x),
        "min": lambda *xs: min(xs),
        "max": lambda *xs: max(xs),
        "sum": lambda *xs: Fraction(sum(map(_exact, xs))),
        "gcd": lambda *xs: Fraction(math.gcd(*map(_whole, xs))),
        "lcm": lambda *xs: Fraction(math.lcm(*map(_whole, xs))),
        "factorial": lambda x: Fraction(math.factorial(_small(x))),
        "comb": lambda n, k: Fraction(math.comb(_small(n), _small(k))),
    }


def _constants() -> dict[str, Number]:
    pi = Decimal("3.14159265358979323846264338327950288419716939937511")
    return {"pi": pi, "π": pi, "e": Decimal(1).exp()}


def _root(x: Number) -> Number:
    """Return a square root, exact where there is one."""
    if x < 0:
        raise CalculatorError("the square root of a negative number")
    if isinstance(x, Fraction):
        above, below = math.isqrt(x.numerator), math.isqrt(x.denominator)
        if above**2 == x.numerator and below**2 == x.denominator:
            return Fraction(above, below)
    return _decimal(x).sqrt()


def _round(x: Number, digits: Number = Fraction(0)) -> Number:
    """Round halves away from zero, as at school."""
    places = _whole(digits)
    if abs(places) > 1000:
        raise CalculatorError("round takes at most 1,000 digits")
    scaled = abs(_exact(x)) * Fraction(10) ** places
    rounded = Fraction(math.floor(scaled + Fraction(1, 2))) / Fraction(10) ** places
    return rounded if x >= 0 else -rounded


def _exact(x: Number) -> Fraction:
    return x if isinstance(x, Fraction) else _bounded_fraction(x)


def _bounded_fraction(x: Decimal) -> Fraction:
    if abs(x.adjusted()) > 1000:
        raise CalculatorError("a number is too large")
    return Fraction(x)


def _whole(x: Number) -> int:
    if x != int(x):
        raise CalculatorError(f"{_show(x)} is not a whole number")
    return int(x)


def _small(x: Number) -> int:
    value = _whole(x)
    if not 0 <= value <= 2000:
        raise CalculatorError("factorial and comb take whole numbers from 0 to 2,000")
    return value


def _float(function: Callable[[float], float], x: Number) -> Decimal:
    return Decimal(repr(round(function(float(x)), 15)))


def _decimal(x: Number) -> Decimal:
    return x if isinstance(x, Decimal) else Decimal(x.numerator) / Decimal(x.denominator)


def _bounded(x: Number) -> Number:
    """Return the number, as a decimal where its fraction has grown too large."""
    if isinstance(x, Decimal):
        if x and abs(x.adjusted()) > MAX_EXPONENT:
            raise CalculatorError("a number is too large or too small")
        return x
    if max(x.numerator.bit_length(), x.denominator.bit_length()) <= MAX_BITS:
        return x
    return _decimal(x)


def _show(x: Number) -> str:
    if isinstance(x, Decimal):
        rounded = +x.normalize(decimal.Context(prec=20))
        small = -7 <= rounded.adjusted() < 21
        return f"{rounded:f}" if small else f"{rounded:E}"
    if x.denominator == 1:
        digits = str(x.numerator)
        return digits if len(digits) <= 400 else f"{digits[:20]}… ({len(digits):,} digits)"
    below = x.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    plain = _show(_decimal(x))
    if below == 1 and Fraction(plain) == x:
        return plain  # it ends: 0.25
    exact = f"{x.numerator}/{x.denominator}"
    return f"{exact} (about {plain})" if len(exact) <= MAX_DIGITS else f"about {plain}"
