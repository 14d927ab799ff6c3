"""The two records that cross the data room, and their Parquet files.

A `Page` is what a source gave, bytes untouched; a `Document` is text with its provenance. Files are
written in batches and appear only when whole.

    write_documents(path, documents)
    for document in read_documents(path): ...
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path

BATCH_ROWS = 1024
BATCH_SIZE = 8_000_000  # bytes and characters in a batch, give or take one row

ItemT = TypeVar("ItemT")
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
    return _write_all(RowWriter(path, PAGE_SCHEMA, _page_row), pages)


def read_pages(path: Path) -> Iterator[Page]:
    """Yield the raw pages of a Parquet file in order."""
    for row in read_rows(path, PAGE_SCHEMA):
        yield Page(**row)  # type: ignore[arg-type]


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write documents to Parquet; return how many."""
    return _write_all(RowWriter(path, DOCUMENT_SCHEMA, _document_row), documents)


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a Parquet file, or of all those in a folder, in order.

    Raises:
        UserError: if there is none, or one can't be read.
    """
    for file in parquet_files(path):
        for row in read_rows(file, DOCUMENT_SCHEMA):
            row["messages"] = json.loads(str(row["messages"]))
            row["scores"] = json.loads(str(row["scores"]))
            yield Document(**row)  # type: ignore[arg-type]


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files in a folder by name; a file stands for itself.

    Raises:
        UserError: if a folder holds none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.parquet"))
    if not files:
        raise UserError(f"{path} holds no *.parquet")
    return files


def count_rows(path: Path) -> int:
    """Return the rows of a Parquet file, or of all those in a folder.

    Raises:
        UserError: if there is none, or one can't be read.
    """
    try:
        return sum(pq.ParquetFile(file).metadata.num_rows for file in parquet_files(path))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} can't be read as Parquet: {error}") from None


class RowWriter(Generic[ItemT]):
    """Writes rows to Parquet as they come; the file appears when the block ends well.

    with RowWriter(folder / "kept.parquet", schema, dict) as kept:
        kept.add(row)
    """

    def __init__(
        self, path: Path, schema: pa.Schema, row_of: Callable[[ItemT], dict[str, Any]]
    ) -> None:
        """Name the file, its columns, and what makes a row of an item."""
        self._path, self._schema, self._row_of = path, schema, row_of
        self._stack = contextlib.ExitStack()
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self.count = 0

    def __enter__(self) -> Self:
        """Open the file under a temporary name."""
        temporary = self._stack.enter_context(atomic_path(self._path))
        self._writer = self._stack.enter_context(
            pq.ParquetWriter(temporary, self._schema, compression="zstd")
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and give the file its name, or remove it after an error."""
        if error is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def add(self, item: ItemT) -> None:
        """Take one item; rows are written in batches bounded by number and size."""
        row = self._row_of(item)
        self._rows.append(row)
        self._size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        self.count += 1
        if len(self._rows) == BATCH_ROWS or self._size >= BATCH_SIZE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows, self._size = [], 0


class DropWriter(RowWriter[Drop]):
    """Writes dropped documents."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        super().__init__(path, DROP_SCHEMA, _drop_row)


def read_drops(path: Path) -> Iterator[Drop]:
    """Yield the drops of a Parquet file, or of all those in a folder, in order."""
    for file in parquet_files(path):
        for row in read_rows(file, DROP_SCHEMA):
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


def _drop_row(drop: Drop) -> dict[str, Any]:
    return {name: getattr(drop, name) for name in DROP_SCHEMA.names}


def _page_row(page: Page) -> dict[str, Any]:
    return {name: getattr(page, name) for name in PAGE_SCHEMA.names}


def _write_all(writer: RowWriter[ItemT], items: Iterable[ItemT]) -> int:
    with writer:
        for item in items:
            writer.add(item)
    return writer.count
