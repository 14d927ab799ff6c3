"""Rows of id and text, or of conversations, as documents and back: JSON Lines, JSON and Parquet.

    for row in read_document_rows(Path("part.jsonl.gz"), set_aside):
        row.document.id, row.document.text, row.place
    with RowWriter(folder / "kept.parquet", KEPT_SCHEMA, dict) as kept:
        kept.add(kept_row(row, document))

Conversations may have any form of `conversation_rows` (OpenAI, ShareGPT, Alpaca). A row that is
neither is set aside; the rest of its file goes on.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import DOCUMENT_SCHEMA, Document, Message
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import RawRow, find_row_files, read_raw_rows, row_kind
from openqwen.data.inputs.rows import MESSAGES, TEXT, row_text
from openqwen.data.training.conversation_rows import FORMS, BadRowError, messages_of

KINDS = (".jsonl", ".json", ".parquet")
TEXT_COLUMNS = ("text", "content")
FACTS = ("source", "url", "licence", "language", "media")
MESSAGE_TYPE = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
KEPT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text")]
    + [("messages", MESSAGE_TYPE)]
    + [(name, pa.string()) for name in (*FACTS, "fields")]
)
# fields that `messages_of` has read into messages
SPOKEN = frozenset((*FORMS, "input", "output", "system", "history", "tools"))


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A row of a file: its place, its document, and the row as it stands."""

    place: int
    document: Document
    values: dict[str, Any]


def find_document_files(paths: list[Path]) -> list[Path]:
    """Return the files named, those of the folders named; of a documents stage its documents.

    Raises:
        UserError: if a path does not exist or holds no file of a known kind.
    """
    found = []
    for path in paths:
        inner = [path / "documents", path / "documents.parquet"]
        stage = [p for p in inner if p.exists() and (path / "funnel.json").exists()]
        found += find_row_files(stage[:1] or [path], kinds=KINDS)
    return found


def document_schema(path: Path) -> pa.Schema | None:
    """Return the columns of a documents stage's file, None for any other file."""
    if row_kind(path) != ".parquet":
        return None
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):  # the reader says so
        return None
    is_stage = set(DOCUMENT_SCHEMA.names) <= set(schema.names)
    return schema.remove_metadata() if is_stage else None


def read_document_rows(path: Path, set_aside: SetAside) -> Iterator[DocumentRow]:
    """Yield the rows of a file that are documents, in order; the others are set aside."""
    for row in read_raw_rows(path, set_aside):
        try:
            document = _document(row, path)
            "".join(
                (document.id, document.text, *(m["content"] for m in document.messages))
            ).encode()
        except BadRowError as error:
            set_aside.add(str(error), f"{path.name}#{row.place}")
        except UnicodeEncodeError:
            set_aside.add("half a surrogate pair", f"{path.name}#{row.place}")
        else:
            yield DocumentRow(row.place, document, row.values)


def _document(row: RawRow, path: Path) -> Document:
    values = row.values
    messages = _messages(values)
    facts: dict[str, Any] = {name: row_text(values, name) for name in FACTS}
    facts["licence"] = facts["licence"] or row_text(values, "license")
    facts["media"] = facts["media"] or (MESSAGES if messages else TEXT)
    if messages:
        text = "\n".join(message["content"] for message in messages)
    else:
        found = [values[name] for name in TEXT_COLUMNS if isinstance(values.get(name), str)]
        if not found:
            raise BadRowError("no text, messages, conversations or instruction")
        text = found[0]
        if not text.strip():
            raise BadRowError("empty")
    id = row_text(values, "id") or f"{path.name}#{row.place}"
    return Document(id=id, text=text, messages=messages, **facts)


def _messages(values: dict[str, Any]) -> list[Message]:
    """Return a row's conversation, [] where it has none; a documents stage keeps it as JSON."""
    stored = values.get("messages")
    if isinstance(stored, str):
        try:
            values = values | {"messages": json.loads(stored) or None}
        except ValueError:
            raise BadRowError("messages is no JSON") from None
    if all(values.get(form) is None for form in FORMS):
        return []
    return messages_of(values)


def kept_row(row: DocumentRow, document: Document, *, as_stage: bool) -> dict[str, Any]:
    """Return a row to write: its own columns, or `KEPT_SCHEMA`'s with the others as JSON.

    Args:
        row: the row as it was read.
        document: its document as it is now.
        as_stage: whether the row is a documents stage's and keeps its columns.
    """
    if as_stage:
        if document is row.document:
            return row.values
        messages = json.dumps(document.messages, ensure_ascii=False)
        return row.values | {"text": document.text, "messages": messages}
    read = SPOKEN if document.messages else {next(n for n in TEXT_COLUMNS if n in row.values)}
    known = {"id", "fields", "license", *FACTS, *read}
    rest = {k: v for k, v in row.values.items() if k not in known and v is not None}
    fields = json.dumps(rest, ensure_ascii=False, default=str) if rest else row.values.get("fields")
    return {
        "id": document.id,
        "text": document.text,
        "messages": document.messages or None,
        "fields": fields if isinstance(fields, str) else None,
        **{name: getattr(document, name) or None for name in FACTS},
    }
