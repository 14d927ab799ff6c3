"""One row of a data set becomes a page: text, HTML, a conversation, an instruction and answer.

row_content({"instruction": "Add.", "input": "1 1", "output": "2"})
# ("application/x-messages+json", b'[{"role": "user", ...
"""

import json
from typing import Any

HTML = "text/html"
TEXT = "text/plain"
PYTHON = "text/x-python"
MESSAGES = "application/x-messages+json"

ROLES = frozenset({"system", "user", "assistant", "tool", "function"})
# columns whose value is a page, and what it is where the row doesn't say
CONTENT_COLUMNS = {"html": HTML, "text": TEXT, "content": TEXT}
PAGE_COLUMNS = {"messages", "instruction", *CONTENT_COLUMNS}
COLUMNS = (
    *("messages", "instruction", "input", "output", "system", "history"),
    *CONTENT_COLUMNS,
    *("media", "id", "url", "source", "licence", "license"),
)


class BadRowError(Exception):
    """A row that is no page; the text says why, in words that rows of a kind share."""


def row_content(row: Any) -> tuple[str, bytes]:
    """Return the media type and the content of a row.

    The first of these that is there decides: `messages` (role and content, as the OpenAI API has
    them), `instruction` with `output` (Alpaca, also with `input`, `system`, `history`), `html`,
    `text`, `content`.

    Raises:
        BadRowError: if it has none of them, or what is there has another form.
    """
    if not isinstance(row, dict):
        raise BadRowError("row is no object")
    if row.get("messages") is not None:
        return MESSAGES, _encode(_messages(row["messages"]))
    if row.get("instruction") is not None:
        return MESSAGES, _encode(_alpaca(row))
    for column, media in CONTENT_COLUMNS.items():
        value = row.get(column)
        if value is not None:
            declared = row.get("media")
            media = declared if declared in (HTML, TEXT, PYTHON, MESSAGES) else media
            return media, value if isinstance(value, bytes) else _text(column, value).encode()
    raise BadRowError("no text, html, content, messages or instruction")


def row_text(row: dict[str, Any], *names: str) -> str:
    """Return the first of the row's columns that holds a text or a whole number, or ""."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def _messages(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise BadRowError("messages is no list with content")
    messages = []
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadRowError("message without a known role")
        messages.append(
            {"role": message["role"], "content": _text("message", message.get("content"))}
        )
    return messages


def _alpaca(row: dict[str, Any]) -> list[dict[str, str]]:
    """Return the conversation of an Alpaca row; the input stands below the instruction."""
    instruction, output = (
        _text("instruction", row["instruction"]),
        _text("output", row.get("output")),
    )
    if not instruction.strip() or not output.strip():
        raise BadRowError("empty instruction or output")
    messages = []
    if row.get("system"):
        messages.append({"role": "system", "content": _text("system", row["system"])})
    for turn in row.get("history") or []:
        if not isinstance(turn, list) or len(turn) != 2:
            raise BadRowError("history is no list of question and answer")
        messages.append({"role": "user", "content": _text("history", turn[0])})
        messages.append({"role": "assistant", "content": _text("history", turn[1])})
    extra = _text("input", row.get("input") or "")
    question = f"{instruction}\n{extra}" if extra.strip() else instruction
    return [
        *messages,
        {"role": "user", "content": question},
        {"role": "assistant", "content": output},
    ]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"{name} is no text")
    return value


def _encode(messages: list[dict[str, str]]) -> bytes:
    return json.dumps(messages, ensure_ascii=False).encode()
