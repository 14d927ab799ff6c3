r"""Whether two mathematical answers are the same (MATH; Hendrycks et al. 2021).

    with MathEquality() as equality:
        equality.same(r"\frac{1}{2}", "0.5")          # True
        equality.same("(1,000)", "1000")              # False: a pair is no number

First as plain text; then as trees: order doesn't count in sets and bare lists and does in tuples;
brackets count in intervals; numbers are compared exactly, as fractions. What is left goes to SymPy
in a child process with limits of processor time and memory: what does not end there is not equal.
"""

import itertools
import json
import re
from fractions import Fraction
from types import TracebackType
from typing import Self

from openqwen.data.extraction.isolate import Isolated
from openqwen.eval.generative.latex_tree import NotAFormula, Tree, parse
from openqwen.eval.generative.math_answers import plain_form
from openqwen.eval.generative.symbolic import EQUAL

CPU_S = 4.0  # of one comparison
MEMORY_BYTES = 2 << 30
MAX_ITEMS = 24  # of a set or list
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


class MathEquality:
    """Compares answers; its child process starts with the first formula that needs one."""

    def __init__(self, *, cpu_s: float = CPU_S) -> None:
        """Set the processor time a comparison of two formulas may take, in seconds."""
        self._cpu_s = cpu_s
        self._pool: Isolated | None = None
        self.num_unfinished = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child process."""
        self.close()

    def close(self) -> None:
        """End the child process, where one was started."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def same(self, first: str, second: str) -> bool:
        """Return whether two answers, in LaTeX or plain, are the same."""
        one, other = plain_form(first), plain_form(second)
        if not one.text or not other.text:
            return False
        if one.unit and other.unit and one.unit != other.unit:
            return False
        if _packed(one.text) == _packed(other.text):
            return True
        try:
            trees = parse(one.text), parse(other.text)
            if "text" in (trees[0][0], trees[1][0]):
                return _said(trees[0], one.text) == _said(trees[1], other.text)
            return self._same(_bare(*trees))
        except NotAFormula:
            return False

    def _same(self, trees: tuple[Tree, Tree]) -> bool:
        first, second = map(_spread, trees)
        kinds = {first[0], second[0]}
        if kinds <= {"list", "set"}:
            return self._unordered(first[-1], second[-1])
        if first[0] != second[0]:
            structured = {"list", "set", "seq", "join", "matrix", "rel", "text", "based"}
            if kinds & structured:
                return False
            return self._formula(first, second)
        match first[0]:
            case "text":
                return bool(_word(first[1]) == _word(second[1]))
            case "based":
                return bool(first == second)
            case "seq":
                return first[1] == second[1] and self._ordered(first[2], second[2])
            case "join":
                return self._unordered(first[1], second[1])
            case "matrix":
                rows, others = first[2], second[2]
                return (
                    first[1] == second[1]
                    and [len(row) for row in rows] == [len(row) for row in others]
                    and all(map(self._ordered, rows, others))
                )
            case "rel":
                return self._relation(first, second)
            case _:
                return self._formula(first, second)

    def _ordered(self, first: list[Tree], second: list[Tree]) -> bool:
        return len(first) == len(second) and all(map(self._same, zip(first, second, strict=True)))

    def _unordered(self, first: list[Tree], second: list[Tree]) -> bool:
        if len(first) != len(second) or len(first) > MAX_ITEMS:
            return False
        left = list(second)
        for tree in first:
            found = next((i for i, other in enumerate(left) if self._same((tree, other))), None)
            if found is None:
                return False
            del left[found]
        return True

    def _relation(self, first: Tree, second: Tree) -> bool:
        if first[1] == ["="] and second[1] == ["="]:
            ends = zip(first[2], second[2], strict=True)
            if all(self._same(pair) for pair in ends):
                return True
            apart = [["add", tree[2][0], ["neg", tree[2][1]]] for tree in (first, second)]
            return self._formula(apart[0], apart[1], is_equation=True)
        for signs, sides in (
            (second[1], second[2]),
            ([_FLIPPED.get(sign, "") for sign in reversed(second[1])], second[2][::-1]),
        ):
            if first[1] == signs and self._ordered(first[2], sides):
                return True
        return False

    def _formula(self, first: Tree, second: Tree, *, is_equation: bool = False) -> bool:
        one, other = _fraction(first), _fraction(second)
        if one is not None and other is not None and not is_equation:
            return one == other
        if self._pool is None:
            name = "openqwen.eval.generative.symbolic:answer"
            self._pool = Isolated(name, 1, cpu_s=self._cpu_s, memory_bytes=MEMORY_BYTES)
        call = json.dumps({"is_equation": is_equation, "first": first, "second": second})
        ((_, found),) = self._pool.map([call], lambda text: text)
        self.num_unfinished += not isinstance(found, str)
        return found == EQUAL


def _packed(text: str) -> str:
    """Return a text without the spaces that part no two numbers or words."""
    return re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", text)


def _said(tree: Tree, text: str) -> str:
    """Return what an answer says as a word; `y e s` may have been read as a product."""
    return _word(tree[1] if tree[0] == "text" else text)


def _word(text: str) -> str:
    """Return a word as it is compared: case counts in a single letter alone."""
    word = "".join(text.split()).strip("().'")
    return word if len(word) == 1 else word.casefold()


def _bare(first: Tree, second: Tree) -> tuple[Tree, Tree]:
    """Drop the name in `x = 5` where the other answer is the value alone."""
    trees = []
    for tree, other in ((first, second), (second, first)):
        if tree[0] == "list" and all(_is_named(part) for part in tree[1]) and other[0] != "rel":
            names = [part[2][0] for part in tree[1]]
            if not any(_is_named(part) for part in other[-1] if other[0] == "list"):
                same_name = all(name == names[0] for name in names)
                tree = ["list", [part[2][1] for part in tree[1]]] if same_name else tree
        elif _is_named(tree) and other[0] != "rel":
            tree = tree[2][1]
        trees.append(tree)
    return trees[0], trees[1]


def _is_named(tree: Tree) -> bool:
    """Return whether a tree is a name, or a function of a name, and its value."""
    if tree[0] != "rel" or tree[1] not in (["="], ["in"]):
        return False
    name = tree[2][0]
    return bool(name[0] == "sym" or (name[0] == "mul" and name[1][0] == name[2][0] == "sym"))


def _spread(tree: Tree) -> Tree:
    """Return a list of both values where a tree is `a ± b`, or holds such items."""
    if tree[0] == "pm":
        return ["list", [["add", tree[1], tree[2]], ["add", tree[1], ["neg", tree[2]]]]]
    if tree[0] in ("list", "set"):
        parts = [_spread(part) for part in tree[1]]
        flat = [part[1] if part[0] == "list" else [part] for part in parts]
        return [tree[0], list(itertools.chain.from_iterable(flat))]
    return tree


def _fraction(tree: Tree) -> Fraction | None:
    """Return the value of a tree of plain numbers; None where it has more in it."""
    kind, *rest = tree
    if kind == "num":
        return Fraction(rest[0])
    if kind not in ("add", "mul", "div", "neg"):
        return None
    values = [_fraction(part) for part in rest]
    if any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    if kind == "neg":
        return -known[0]
    if kind == "div":
        return known[0] / known[1] if known[1] else None
    return known[0] + known[1] if kind == "add" else known[0] * known[1]
