"""JSON5, exactly: what the published scorer reads of a tool's arguments, and not a sign more.

    read_json5("{search_query: '周杰伦',}")      # {"search_query": "周杰伦"}

Agents are more lenient with models (`openqwen/agent/relaxed_json.py`); a score that is to equal the
published one must call wrong what its reader, Python's json5, calls wrong: `True`, a code fence, a
line break inside quotes. Source: spec.json5.org.
"""

import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""(?P<gap>(?:[\s\ufeff]|//[^\n\r\u2028\u2029]*|/\*.*?\*/)+)
    |(?P<sign>[{}\[\],:])
    |(?P<text>"(?:[^"\\\n\r]|\\(?:\r\n|.))*"|'(?:[^'\\\n\r]|\\(?:\r\n|.))*')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|Infinity|NaN
        |(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.$]))
    |(?P<name>(?:[^\W\d]|\$)[\w$]*)""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|0[0-9]|\r\n|.)", re.DOTALL)
_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0",
    "\n": "", "\r": "", "\r\n": "", "\u2028": "", "\u2029": "",
}  # fmt: skip
_LITERALS = ("true", "false", "null")


def read_json5(text: str) -> Any:
    """Return the value of a JSON5 text.

    Raises:
        ValueError: if it is none, or one nested too deeply.
    """
    pieces: list[str] = []  # of the same value as plain JSON
    kinds: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"no JSON5 at character {at}: {text[at : at + 12]!r}")
        at = match.end()
        kind, piece = str(match.lastgroup), match[0]
        if kind == "gap":
            continue
        if kind == "sign" and piece in "}]" and pieces[-1:] == [","] and _ends_value(pieces, kinds):
            pieces.pop()
            kinds.pop()
        pieces.append(piece)
        kinds.append(kind)
    following = [*pieces[1:], ""]
    as_json = " ".join(map(_json, pieces, kinds, following))
    try:
        return json.loads(as_json)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _ends_value(pieces: list[str], kinds: list[str]) -> bool:
    """Return whether a value stands before the comma at the end, so that the comma may go."""
    return len(pieces) > 1 and (kinds[-2] != "sign" or pieces[-2] in "}]")


def _json(piece: str, kind: str, following: str) -> str:
    if kind == "text":
        return json.dumps(_unquote(piece))
    if kind == "number":
        return _number(piece)
    if kind == "name" and (following == ":" or piece not in _LITERALS):
        if following != ":":
            raise ValueError(f"{piece} is no JSON5 value")
        return json.dumps(piece)
    return piece


def _unquote(piece: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        if escape[0] in "xu" and len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape[0] in "xu" or escape.isdigit():
            raise ValueError(f"\\{escape} is no JSON5 escape")
        return escape

    text = _ESCAPE.sub(replace, piece[1:-1])
    # halves of a character above U+FFFF, escaped one by one, are joined
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(piece: str) -> str:
    sign, digits = ("-", piece[1:]) if piece[0] == "-" else ("", piece.lstrip("+"))
    if digits[:2].lower() == "0x":
        return f"{sign}{int(digits, 16)}"
    if digits == "NaN":
        return digits
    if digits.startswith("."):
        digits = f"0{digits}"
    return sign + re.sub(r"\.(?=[eE]|$)", ".0", digits)
