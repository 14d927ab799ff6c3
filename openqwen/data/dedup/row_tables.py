"""Files of rows with `id` and `text` as Arrow tables of good rows; bad ones are set aside.

    for table in read_tables(file, "a.jsonl#", 0, None, set_aside): ...
    table["id"], table["text"], table["url"]             # what else a row has comes along

JSON Lines keep their other fields as one column of JSON (FIELDS) until the columns of all files are
known; Parquet keeps its own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.data.inputs.origin import GZIP_ERRORS, SetAside, open_unpacked
from openqwen.data.inputs.row_files import skip_line
from openqwen.data.inputs.stores import InputFile, StoreError

KINDS = (".jsonl", ".parquet")
FIELDS = "\x00fields"
KNOWN = ("id", "text")
BATCH_ROWS = 1000
BATCH_BYTES = 16_000_000
MAX_ROW_BYTES = 64_000_000
UTF8_MARK = b"\xef\xbb\xbf"

Line = tuple[int, bytes | None]  # where it begins; None for one that is too long


def read_tables(
    file: InputFile, where: str, start: int, end: int | None, set_aside: SetAside
) -> Iterator[pa.Table]:
    """Yield the good rows of a file, or of a range of it, in order, some at a time.

    Args:
        file: .jsonl, also gzipped, or .parquet.
        where: its name, for what is set aside.
        start: byte or row group the range starts at.
        end: the one it ends before; None is the file's end.
        set_aside: counts the other rows, and files that are damaged.

    Raises:
        StoreError: an object store that doesn't answer.
    """
    read = _read_parquet if file.kind == ".parquet" else _read_jsonl
    try:
        yield from read(file, where, start, end, set_aside)
    except StoreError:
        raise
    except (pa.ArrowException, OSError) as error:
        set_aside.add("can't be read", f"{where}: {error}")


def _read_jsonl(
    file: InputFile, where: str, start: int, end: int | None, set_aside: SetAside
) -> Iterator[pa.Table]:
    ids: list[str] = []
    texts: list[str] = []
    fields: list[str] = []
    size = 0
    with open_unpacked(file) as opened:
        for offset, line in _undamaged(_lines(opened, start, end), where, set_aside):
            place = f"{where}@{offset}"
            if line is None:
                set_aside.add(f"larger than {MAX_ROW_BYTES:,} bytes", place)
                continue
            try:
                id, text, rest = _parse(line)
            except ValueError as error:
                set_aside.add(str(error), place)
                continue
            ids.append(id)
            texts.append(text)
            fields.append(rest)
            size += len(line)
            if len(ids) == BATCH_ROWS or size >= BATCH_BYTES:
                yield pa.table({"id": ids, "text": texts, FIELDS: fields})
                ids, texts, fields, size = [], [], [], 0
    if ids:
        yield pa.table({"id": ids, "text": texts, FIELDS: fields})


def _undamaged(lines: Iterator[Line], where: str, set_aside: SetAside) -> Iterator[Line]:
    """Yield lines up to where a gzip file is damaged."""
    try:
        yield from lines
    except GZIP_ERRORS as error:
        set_aside.add("truncated or corrupt gzip", f"{where}: {error}")


def _lines(file: IO[bytes], start: int, end: int | None) -> Iterator[Line]:
    """Yield the lines that begin in bytes `start` to `end`, None for one that is too long."""
    offset = start
    if start:
        file.seek(start - 1)
        offset += skip_line(file) - 1
    while (end is None or offset < end) and (line := file.readline(MAX_ROW_BYTES + 1)):
        begin, offset = offset, offset + len(line)
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            offset += skip_line(file)
            yield begin, None
        elif line.strip():
            yield begin, line


def _parse(line: bytes) -> tuple[str, str, str]:
    """Return id, text and the other fields as JSON; raises ValueError with the reason."""
    try:
        row = json.loads(line.removeprefix(UTF8_MARK))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict):
        raise ValueError("row is no object")
    id, text = _id(row.pop("id", None)), row.pop("text", None)
    if not isinstance(text, str):
        raise ValueError("no text" if text is None else "text is no string")
    try:
        rest = json.dumps(row, ensure_ascii=False) if row else ""
        (text + id + rest).encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair") from None
    return id, text, rest


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError("no id" if value is None or value == "" else "id is no string")
    return str(value)


def _read_parquet(
    file: InputFile, where: str, start: int, end: int | None, set_aside: SetAside
) -> Iterator[pa.Table]:
    with file.open() as opened, pq.ParquetFile(opened) as stored:
        missing = [name for name in KNOWN if name not in stored.schema_arrow.names]
        if missing:
            set_aside.add(f"no column {', '.join(missing)}", where)
            return
        groups = range(stored.num_row_groups)[start:end]
        place = sum(stored.metadata.row_group(group).num_rows for group in range(start))
        for batch in stored.iter_batches(BATCH_ROWS, row_groups=groups):
            yield _good_rows(batch, where, place, set_aside)
            place += len(batch)


def _good_rows(batch: pa.RecordBatch, where: str, place: int, set_aside: SetAside) -> pa.Table:
    """Return the rows that have an id and a text, both as strings."""
    ids, texts = _strings(batch.column("id")), _strings(batch.column("text"))
    good = []
    for row, (id, text) in enumerate(zip(ids, texts, strict=True)):
        if isinstance(id, str) and id and isinstance(text, str):
            good.append(row)
            continue
        name, value = ("id", id) if isinstance(text, str) else ("text", text)
        reason = value.reason if isinstance(value, _Bad) else f"no {name}"
        set_aside.add(reason, f"{where}#{place + row}")
    rest = [name for name in batch.schema.names if name not in KNOWN]
    table = pa.Table.from_batches([batch.select(rest).take(good)]) if rest else pa.table({})
    columns = {"id": [ids[row] for row in good], "text": [texts[row] for row in good]}
    columns |= {name: table.column(name) for name in rest}
    types = {"id": pa.string(), "text": pa.string()}
    return pa.table(
        {name: pa.array(v, types[name]) if name in types else v for name, v in columns.items()}
    )


@dataclass(frozen=True)
class _Bad:
    """Why a value is no string."""

    reason: str


def _strings(column: pa.Array) -> "list[str | _Bad | None]":
    """Return a column's values as strings; what is none says why."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_integer(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            found: list[str | _Bad | None] = column.to_pylist()
            return found
        except UnicodeDecodeError:
            large = pa.types.is_large_string(kind)
            column = column.view(pa.large_binary() if large else pa.binary())
            return [_decoded(value) for value in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [_decoded(value) for value in column.to_pylist()]
    return [_Bad(f"column of {kind} is no text")] * len(column)


def _decoded(value: bytes | None) -> "str | _Bad | None":
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return _Bad("not UTF-8")
