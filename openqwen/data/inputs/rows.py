"""One row of a data set becomes a page: text, HTML, a conversation, an instruction and answer.

row_content({"instruction": "Add.", "input": "1 1", "output": "2"})
# ("application/x-messages+json", b'[{"role": "user", ...
"""

import json
from collections.abc import Iterator
from typing import Any

from openqwen.core.documents import Page
from openqwen.data.inputs.origin import Origin
from openqwen.data.training.conversation_rows import FORMS, BadRowError, messages_of, text

HTML = "text/html"
TEXT = "text/plain"
PYTHON = "text/x-python"
MESSAGES = "application/x-messages+json"

# columns whose value is a page, and what it is where the row doesn't say
CONTENT_COLUMNS = {"html": HTML, "text": TEXT, "content": TEXT}
PAGE_COLUMNS = {*FORMS, *CONTENT_COLUMNS}
COLUMNS = (
    *FORMS,
    *("input", "output", "system", "history", "tools"),
    *CONTENT_COLUMNS,
    *("media", "id", "url", "source", "licence", "license"),
)


def row_content(row: Any) -> tuple[str, bytes]:
    """Return the media type and the content of a row.

    The first of these that is there decides: a conversation in one of the forms of
    `conversation_rows` (OpenAI, ShareGPT, Alpaca), `html`, `text`, `content`.

    Raises:
        BadRowError: if it has none of them, or what is there has another form.
    """
    if not isinstance(row, dict):
        raise BadRowError("row is no object")
    if any(row.get(form) is not None for form in FORMS):
        return MESSAGES, _encode(messages_of(row))
    for column, media in CONTENT_COLUMNS.items():
        value = row.get(column)
        if value is not None:
            declared = row.get("media")
            media = declared if declared in (HTML, TEXT, PYTHON, MESSAGES) else media
            return media, value if isinstance(value, bytes) else text(column, value).encode()
    raise BadRowError("no text, html, content, messages or instruction")


def row_text(row: dict[str, Any], *names: str) -> str:
    """Return the first of the row's columns that holds a text or a whole number, or ""."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def read_row(row: Any, place: str, origin: Origin) -> Iterator[Page]:
    """Yield the page of one row, or set it aside in `origin` as what stood at `place`."""
    try:
        media, content = row_content(row)
        known = {name: row_text(row, name) for name in ("id", "url", "source")}
        known["licence"] = row_text(row, "licence", "license")
        "".join(known.values()).encode()
    except BadRowError as error:
        origin.set_aside.add(str(error), place)
    except UnicodeEncodeError:
        origin.set_aside.add("half a surrogate pair", place)
    except RecursionError:
        origin.set_aside.add("nested too deep", place)
    else:
        yield from origin.page(place, media, content, **known)


def _encode(messages: list[dict[str, str]]) -> bytes:
    return json.dumps(messages, ensure_ascii=False).encode()
