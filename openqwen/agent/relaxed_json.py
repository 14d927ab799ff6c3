"""JSON as models write it: JSON5, Python's literals, a code fence around, raw line breaks in texts.

    parse_relaxed("{'city': 'Köln', days: 3,}")   # {"city": "Köln", "days": 3}

Reads what the published evaluation reads with json5 (references: QwenLM/Qwen,
`eval/evaluate_plugin.py`), and of Python True, False and None, fences and raw line breaks besides.
"""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
_SPACE = re.compile(r"(?:\s|\ufeff|//[^\n]*|/\*.*?\*/|#[^\n]*)*", re.DOTALL)
_NAME = re.compile(r"[^\W\d][\w$]*|\$[\w$]*")
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F]+|Infinity|NaN|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
)
_FENCE = re.compile(r"\A```[\w+-]*[ \t]*\n?(.*?)(?:\n?[ \t]*```)?\s*\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_WORDS = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
    "Infinity": math.inf, "NaN": math.nan,
}  # fmt: skip


def strip_fence(text: str) -> str:
    """Return the inside of a Markdown code fence, or the text, stripped, where there is none."""
    stripped = text.strip()
    match = _FENCE.match(stripped)
    return match[1].strip("\n") if match else stripped


def parse_relaxed(text: str) -> Any:
    """Return the value that a text describes.

    Raises:
        ValueError: one line saying what is wrong and where (character, counted from 0).
    """
    inside = strip_fence(text)
    try:
        return json.loads(inside)
    except (ValueError, RecursionError):
        pass
    reader = _Reader(inside)
    value = reader.value(0)
    reader.skip()
    if reader.at < len(inside):
        raise ValueError(f"text after the end of the JSON value at character {reader.at}")
    return value


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and without ASCII escapes, as the published evaluation does."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


class _Reader:
    """A recursive-descent reader over one text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None, "the pattern matches nothing, too"
        self.at = match.end()

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        self.skip()
        first = self.text[self.at : self.at + 1]
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first in ("'", '"'):
            return self._string(first)
        number = _NUMBER.match(self.text, self.at)
        if number:
            self.at = number.end()
            return _number(number[0])
        name = _NAME.match(self.text, self.at)
        if name and name[0] in _WORDS:
            self.at = name.end()
            return _WORDS[name[0]]
        raise self._wrong("a value")

    def _object(self, depth: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while True:
            self.skip()
            if self._take("}"):
                return found
            key = self._key()
            self.skip()
            if not self._take(":"):
                raise self._wrong("':'")
            found[key] = self.value(depth + 1)
            self.skip()
            if not self._take(",") and self.text[self.at : self.at + 1] != "}":
                raise self._wrong("',' or '}'")

    def _array(self, depth: int) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while True:
            self.skip()
            if self._take("]"):
                return found
            found.append(self.value(depth + 1))
            self.skip()
            if not self._take(",") and self.text[self.at : self.at + 1] != "]":
                raise self._wrong("',' or ']'")

    def _key(self) -> str:
        first = self.text[self.at : self.at + 1]
        if first in ("'", '"'):
            return self._string(first)
        name = _NAME.match(self.text, self.at)
        if name is None:
            raise self._wrong("a key")
        self.at = name.end()
        return name[0]

    def _string(self, quote: str) -> str:
        begin = self.at
        self.at += 1
        parts: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == quote:
                # halves of a character above U+FFFF, escaped one by one, are joined
                text = "".join(parts)
                return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            parts.append(self._escape() if char == "\\" else char)
        raise ValueError(f"the text that begins at character {begin} does not end")

    def _escape(self) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        if char in ("u", "x"):
            digits = self.text[self.at : self.at + (4 if char == "u" else 2)]
            self.at += len(digits)
            if not re.fullmatch(r"[0-9a-fA-F]{4}|[0-9a-fA-F]{2}", digits):
                raise ValueError(f"\\{char}{digits} is no escape")
            return chr(int(digits, 16))
        return "" if char == "\n" else _ESCAPES.get(char, char)

    def _take(self, char: str) -> bool:
        if self.text[self.at : self.at + 1] != char:
            return False
        self.at += 1
        return True

    def _wrong(self, expected: str) -> ValueError:
        found = self.text[self.at : self.at + 12]
        what = f"found {found!r}" if found else "the text ends"
        return ValueError(f"expected {expected} at character {self.at}, {what}")


def _number(text: str) -> int | float:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    if digits in ("Infinity", "NaN"):
        return sign * float(digits.lower().replace("infinity", "inf"))
    if digits[:2] in ("0x", "0X"):
        return sign * int(digits, 16)
    if digits.isdigit():
        if len(digits) > 4000:
            raise ValueError(f"a number of {len(digits):,} digits")
        return sign * int(digits)
    return sign * float(digits)
