"""The two records that cross the data room, and their Parquet files.

A `Page` is what a source gave, bytes untouched; a `Document` is text with its provenance. Files are
written in batches and appear only when whole.

    write_documents(path, documents)
    for document in read_documents(path): ...
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path

BATCH_ROWS = 1024
BATCH_SIZE = 64_000_000  # bytes and characters in a batch, give or take one row

Message = dict[str, str]  # {"role": ..., "content": ...}


@dataclass(slots=True)
class Page:
    """One raw record of a source."""

    id: str  # unique and stable: source/path-or-row
    source: str
    url: str
    licence: str
    media: str  # text/html, text/plain, text/x-python or application/x-messages+json
    content: bytes


@dataclass(slots=True)
class Document:
    """Text with where it came from; `messages` is set where the document is a conversation."""

    id: str
    source: str
    url: str
    licence: str
    media: str
    text: str
    language: str = ""  # ISO 639-1 code, "" before identification, "und" where undecided
    messages: list[Message] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    epochs: int = 1  # copies in the mixture
    split: str = "train"  # or "validation": held out from the tokenizer and from training

    @property
    def group(self) -> str:
        """Return what mixture and metrics count by: code, instructions or the language."""
        if self.messages:
            return "instructions"
        return "code" if self.media == "text/x-python" else self.language


@dataclass(slots=True)
class Drop:
    """One document that a step removed, and why."""

    id: str
    source: str
    language: str
    step: str
    reason: str
    score: float | None  # the measured value that decided, where there is one
    detail: str  # what a person needs to judge: the twin's id, the matched words …
    text: str  # the document's text as the step saw it, cut to what an audit needs


PAGE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "url", "licence", "media")]
    + [("content", pa.binary())]
)
DOCUMENT_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in ("id", "source", "url", "licence", "media", "text", "language")
    ]
    + [("messages", pa.string()), ("scores", pa.string())]
    + [("epochs", pa.int32()), ("split", pa.string())]
)
DROP_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "language", "step", "reason")]
    + [("score", pa.float64()), ("detail", pa.string()), ("text", pa.string())]
)


def write_pages(path: Path, pages: Iterable[Page]) -> int:
    """Write raw pages to Parquet; return how many."""
    rows = ({name: getattr(p, name) for name in PAGE_SCHEMA.names} for p in pages)
    return _write_rows(path, rows, PAGE_SCHEMA)


def read_pages(path: Path) -> Iterator[Page]:
    """Yield the raw pages of a Parquet file in order."""
    for row in read_rows(path, PAGE_SCHEMA):
        yield Page(**row)  # type: ignore[arg-type]


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write documents to Parquet; return how many."""
    return _write_rows(path, (_document_row(d) for d in documents), DOCUMENT_SCHEMA)


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a Parquet file in order."""
    for row in read_rows(path, DOCUMENT_SCHEMA):
        row["messages"] = json.loads(str(row["messages"]))
        row["scores"] = json.loads(str(row["scores"]))
        yield Document(**row)  # type: ignore[arg-type]


def write_drops(path: Path, drops: Iterable[Drop]) -> int:
    """Write dropped documents to Parquet; return how many."""
    rows = ({name: getattr(d, name) for name in DROP_SCHEMA.names} for d in drops)
    return _write_rows(path, rows, DROP_SCHEMA)


def read_drops(path: Path) -> Iterator[Drop]:
    """Yield the drops of a Parquet file in order."""
    for row in read_rows(path, DROP_SCHEMA):
        yield Drop(**row)  # type: ignore[arg-type]


def read_rows(path: Path, schema: pa.Schema) -> Iterator[dict[str, object]]:
    """Yield rows with exactly the schema's columns, a batch in memory at a time.

    Raises:
        UserError: if the file is not Parquet or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in schema.names if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"{path} has no column {', '.join(missing)}")
            for group in range(file.num_row_groups):  # batches would span several
                for batch in file.iter_batches(
                    BATCH_ROWS, row_groups=[group], columns=schema.names
                ):
                    yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} can't be read as Parquet: {error}") from None


def _document_row(document: Document) -> dict[str, object]:
    row = {name: getattr(document, name) for name in DOCUMENT_SCHEMA.names}
    row["messages"] = json.dumps(document.messages, ensure_ascii=False)
    row["scores"] = json.dumps(document.scores)
    return row


def _batches(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """Yield rows in lists, bounded by their number and by their texts' size: memory stays small."""
    batch: list[dict[str, object]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if len(batch) == BATCH_ROWS or size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_rows(path: Path, rows: Iterable[dict[str, object]], schema: pa.Schema) -> int:
    count = 0
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count
