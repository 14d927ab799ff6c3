r"""A formula in LaTeX as a tree; nothing in it is ever evaluated, so any text may be given.

    parse(r"\frac{1}{2}x + 3")
    # ["add", ["mul", ["div", ["num", "1"], ["num", "2"]], ["sym", "x"]], ["num", "3"]]

A tree is nested lists, ready for JSON. Leaves: `num`, `sym`, `text`. Inner nodes: `add`, `mul`,
`div`, `pow`, `neg`, `root`, `fn`, `abs`, `fact`, `pm`, `rel`, `seq` (a tuple or an interval, with
its brackets), `set`, `list` (bare, with commas), `join` (unions), `matrix`.
"""

import re
from typing import Any

Tree = list[Any]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\.\d+|<=|>=|!=|\*\*|[^\s]")
FUNCTION = re.compile(
    r"\\(?:(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc|log|ln|exp|lg|gcd|lcm|max|min)", re.ASCII
)
NAME = re.compile(
    r"[^\W\d_]|\\(?:pi|infty|emptyset|varnothing|mathbb|ell|alpha|beta|gamma|delta|(?:var)?epsilon|zeta"
    r"|eta|(?:var)?theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|(?:var)?phi|chi|psi|omega|Gamma"
    r"|Delta|Theta|Lambda|Phi|Omega|Sigma|Psi)"
)
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", r"\le": "<=", r"\leq": "<=",
    r"\ge": ">=", r"\geq": ">=", r"\lt": "<", r"\gt": ">", r"\ne": "!=", "!=": "!=",
    r"\in": "in", r"\leqslant": "<=", r"\geqslant": ">=", "≤": "<=", "≥": ">=",
}  # fmt: skip
TIMES = frozenset(("*", r"\cdot", r"\times", "×", "·", r"\ast"))
OVER = frozenset(("/", r"\div", "÷"))
CLOSING = {"(": ")", "[": "]", r"\{": r"\}", "{": "}"}
MAX_LENGTH = 1000  # characters; nobody's answer is longer, and depth is bounded with it
MAX_DEPTH = 60


class NotAFormula(Exception):  # noqa: N818
    """The text is no formula this grammar knows."""


def parse(text: str) -> Tree:
    """Return the tree of an answer.

    Raises:
        NotAFormula: if it is none, or too long.
    """
    if len(text) > MAX_LENGTH:
        raise NotAFormula(f"longer than {MAX_LENGTH} characters")
    text = re.sub(r"\\(?:text|mbox|textbf|hbox)\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b", ",", text)
    text = re.sub(r",\s*,", ",", text)
    words = re.fullmatch(
        r"(?:\\text(?:bf|it|rm)?\{([^{}]*)\}|([A-Za-z' -]*[A-Za-z]{4}[A-Za-z' -]*))", text
    )
    if words:
        return ["text", (words.group(1) or words.group(2)).strip()]
    parser = _Parser(_TOKEN.findall(text))
    tree = parser.items(None)
    if parser.peek() is not None:
        raise NotAFormula(f"{parser.peek()!r} was not expected")
    return tree


class _Parser:
    """Recursive descent over tokens; each method returns a tree and leaves its place behind it."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place, self.depth, self.bars = tokens, 0, 0, 0

    def peek(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def next(self) -> str:
        token = self.peek()
        if token is None:
            raise NotAFormula("it ends too early")
        self.place += 1
        return token

    def expect(self, token: str) -> None:
        found = self.next()
        if found != token:
            raise NotAFormula(f"{token!r} was expected, not {found!r}")

    def items(self, closing: str | None) -> Tree:
        """Read items with commas up to a closing bracket or the end; one item stands for itself."""
        found = [self.relation()]
        while self.peek() in (",", ";"):
            self.next()
            found.append(self.relation())
        return found[0] if len(found) == 1 else ["list", found]

    def relation(self) -> Tree:
        parts, signs = [self.union()], []
        while self.peek() in RELATIONS:
            signs.append(RELATIONS[self.next()])
            parts.append(self.union())
        return ["rel", signs, parts] if signs else parts[0]

    def union(self) -> Tree:
        parts = [self.sum()]
        while self.peek() in (r"\cup", "∪"):
            self.next()
            parts.append(self.sum())
        return ["join", parts] if len(parts) > 1 else parts[0]

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotAFormula("nested too deeply")
        tree = self.signed_term()
        while self.peek() in ("+", "-", r"\pm", r"\mp"):
            sign = self.next()
            other = self.product()
            if sign in (r"\pm", r"\mp"):
                tree = ["pm", tree, other]
            else:
                tree = ["add", tree, ["neg", other] if sign == "-" else other]
        self.depth -= 1
        return tree

    def signed_term(self) -> Tree:
        if self.peek() in (r"\pm", r"\mp"):
            self.next()
            return ["pm", ["num", "0"], self.product()]
        return self.product()

    def product(self) -> Tree:
        tree, was_number = self.signed_power()
        while True:
            token = self.peek()
            if token in TIMES:
                self.next()
                other, was_number = self.signed_power()
                tree = ["mul", tree, other]
            elif token in OVER:
                self.next()
                other, was_number = self.signed_power()
                tree = ["div", tree, other]
            elif token is not None and (_starts_factor(token) or (token == "|" and not self.bars)):
                if was_number and (token[0].isdigit() or token[0] == "."):
                    tree = self.mixed(tree)
                    was_number = False
                    continue
                is_mixed = was_number and token == r"\frac" and tree[0] == "num"
                other, is_number = self.power()
                whole = is_mixed and "." not in tree[1] and _is_plain_fraction(other)
                tree, was_number = (
                    (["add", tree, other] if whole else ["mul", tree, other]),
                    is_number,
                )
            else:
                return tree

    def mixed(self, whole: Tree) -> Tree:
        """Read the fraction of a mixed number written as `1 1/2`."""
        number = ["num", self.next()]
        if self.peek() != "/" or "." in number[1] or whole[0] != "num":
            raise NotAFormula("two numbers stand side by side")
        self.next()
        over = self.next()
        if not over.isdigit():
            raise NotAFormula("two numbers stand side by side")
        return ["add", whole, ["div", number, ["num", over]]]

    def signed_power(self) -> tuple[Tree, bool]:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.next() == "-" else sign
        tree, is_number = self.power(signed=sign < 0)
        return (["neg", tree], False) if sign < 0 else (tree, is_number)

    def power(self, *, signed: bool = False) -> tuple[Tree, bool]:
        tree = self.base()
        is_number = tree[0] == "num"
        if signed and is_number and self.peek() == r"\frac":  # -1\frac12 is -(1 + 1/2)
            other = self.base()
            if not _is_plain_fraction(other):
                raise NotAFormula("a number before a fraction")
            return ["add", tree, other], False
        while True:
            token = self.peek()
            if token in ("^", "**"):
                self.next()
                if self.peek() == r"\prime":
                    raise NotAFormula("a derivative")
                tree, is_number = ["pow", tree, self.argument(whole=True)], False
            elif token == "!":
                self.next()
                tree, is_number = ["fact", tree], False
            elif token == "_":
                self.next()
                under = self.argument(whole=True)
                if tree[0] == "num":
                    tree = ["based", tree[1], under]
                elif tree[0] == "sym":
                    tree = ["sym", f"{tree[1]}_{_name(under)}"]
                else:
                    raise NotAFormula("a subscript on no name")
                is_number = False
            else:
                return tree, is_number

    def argument(self, *, whole: bool = False) -> Tree:
        """Read what a command takes: a group, or one token (of a number, its first digit)."""
        token = self.next()
        if token == "{":
            tree = self.items("}")
            self.expect("}")
            return tree
        if token == "-" and whole:
            return ["neg", self.argument(whole=True)]
        if token[0].isdigit() and not whole and len(token) > 1:
            self.place -= 1
            self.tokens[self.place] = token[1:]
            return ["num", token[0]]
        self.place -= 1
        return self.base()

    def base(self) -> Tree:
        token = self.next()
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            return self.number(token)
        if token in CLOSING:
            return self.bracket(token)
        if token in (r"\frac",):
            return ["div", self.argument(), self.argument()]
        if token in (r"\binom", r"\dbinom", r"\tbinom"):
            return ["fn", "binom", self.argument(), self.argument()]
        if token == r"\sqrt":
            index: Tree = ["num", "2"]
            if self.peek() == "[":
                self.next()
                index = self.sum()
                self.expect("]")
            return ["root", index, self.argument()]
        if token in ("|", r"\lvert", r"\vert"):
            self.bars += 1
            inner = self.sum()
            self.bars -= 1
            if self.next() not in ("|", r"\rvert", r"\vert"):
                raise NotAFormula("a bar is not closed")
            return ["abs", inner]
        if token in (r"\lfloor", r"\lceil"):
            inner = self.sum()
            self.expect(r"\rfloor" if token == r"\lfloor" else r"\rceil")
            return ["fn", "floor" if token == r"\lfloor" else "ceil", inner]
        if token == r"\begin":
            return self.matrix()
        if token == r"\text" or token == r"\mbox":
            return self.words()
        if token == r"\mathbb":
            return ["sym", "set_" + _name(self.argument())]
        if FUNCTION.fullmatch(token):
            return self.function(token[1:])
        if NAME.fullmatch(token):
            return ["sym", token.lstrip("\\")]
        raise NotAFormula(f"{token!r} is not known")

    def number(self, token: str) -> Tree:
        if token.endswith(".") or self.tokens[self.place : self.place + 2] != [".", r"\overline"]:
            return self.repeating(token) if self.peek() == r"\overline" else ["num", token]
        self.next()
        return self.repeating(token + ".")

    def repeating(self, head: str) -> Tree:
        r"""Read the period in 0.1\overline{6}."""
        self.expect(r"\overline")
        period = _name(self.argument())
        if not period.isdigit() or "." not in head:
            raise NotAFormula("an overline that is no period")
        whole, _, fixed = head.partition(".")
        tens = 10 ** len(fixed)
        top = int(whole + fixed + period) - int(whole + fixed)
        return ["div", ["num", str(top)], ["num", str(tens * (10 ** len(period) - 1))]]

    def bracket(self, opening: str) -> Tree:
        if opening == r"\{" and self.peek() == r"\}":
            self.next()
            return ["set", []]
        tree = self.items(None)
        closing = self.next()
        if opening == "{" or opening == r"\{":
            if closing != CLOSING[opening]:
                raise NotAFormula("a brace is not closed")
            parts = tree[1] if tree[0] == "list" else [tree]
            return ["set", parts] if opening == r"\{" else tree
        if closing not in (")", "]"):
            raise NotAFormula("a bracket is not closed")
        if tree[0] == "list":
            return ["seq", opening + closing, tree[1]]
        if CLOSING[opening] != closing:
            raise NotAFormula("brackets do not match")
        return tree

    def function(self, name: str) -> Tree:
        base: Tree | None = None
        power: Tree | None = None
        for _ in range(2):
            if self.peek() == "_" and name == "log":
                self.next()
                base = self.argument(whole=True)
            elif self.peek() == "^":
                self.next()
                power = self.argument(whole=True)
        inner = self.bracket(self.next()) if self.peek() in ("(", "{", "[") else self.product()
        if power == ["neg", ["num", "1"]] and name in ("sin", "cos", "tan"):
            name, power = "arc" + name, None
        tree: Tree = ["fn", name, inner] if base is None else ["fn", "log", inner, base]
        return ["pow", tree, power] if power else tree

    def words(self) -> Tree:
        self.expect("{")
        found = []
        while self.peek() not in ("}", None):
            found.append(self.next())
        self.expect("}")
        return ["text", "".join(found)]

    def matrix(self) -> Tree:
        name = self.words()[1]
        if name not in ("pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix"):
            raise NotAFormula(f"environment {name!r} is not known")
        rows: list[list[Tree]] = [[self.sum()]]
        while (token := self.next()) != r"\end":
            if token == "&":
                rows[-1].append(self.sum())
            elif token == "\\\\":
                if self.peek() == r"\end":
                    continue
                rows.append([self.sum()])
            else:
                raise NotAFormula(f"{token!r} in a matrix")
        if self.words()[1] != name:
            raise NotAFormula("an environment is not closed")
        return ["matrix", "vmatrix" if name == "vmatrix" else "matrix", rows]


def _starts_factor(token: str) -> bool:
    if token in ("(", "{", r"\frac", r"\sqrt", r"\binom", r"\begin", r"\lvert", r"\lfloor"):
        return True
    return bool(FUNCTION.fullmatch(token) or NAME.fullmatch(token)) or token[0].isalnum()


def _is_plain_fraction(tree: Tree) -> bool:
    return [tree[0], tree[1][0], tree[-1][0]] == ["div", "num", "num"]


def _name(tree: Tree) -> str:
    if tree[0] in ("num", "sym", "text"):
        return str(tree[1])
    if tree[0] == "mul":
        return _name(tree[1]) + _name(tree[2])
    raise NotAFormula("no name")
