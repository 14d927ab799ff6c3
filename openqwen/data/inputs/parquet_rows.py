"""Rows of a Parquet file, a row group after the other: a damaged one costs its own rows only.

for page in read_parquet(file, "part-0.parquet", origin): ...
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openqwen.core.documents import Page
from openqwen.data.inputs.origin import TOO_LARGE, Origin
from openqwen.data.inputs.rows import COLUMNS, PAGE_COLUMNS, read_row
from openqwen.data.inputs.stores import InputFile, StoreError

BATCH_BYTES = 32 << 20  # unpacked, about, in memory at a time
MAX_BATCH_ROWS = 1024
DAMAGED = "truncated or corrupt Parquet"
_ERRORS = (pa.ArrowException, UnicodeDecodeError, OSError, OverflowError)


def read_parquet(
    file: InputFile, where: str, origin: Origin, start: int = 0, end: int | None = None
) -> Iterator[Page]:
    """Yield a page for each row of the row groups `start` to `end` of a Parquet file."""
    try:
        with file.open() as opened, pq.ParquetFile(opened) as table:
            columns = [name for name in COLUMNS if name in table.schema_arrow.names]
            if not PAGE_COLUMNS & set(columns):
                origin.set_aside.add("no column of text, html or conversations", where)
                return
            sizes = [table.metadata.row_group(g).num_rows for g in range(table.num_row_groups)]
            for group in range(table.num_row_groups)[start:end]:
                first = sum(sizes[:group])
                try:
                    yield from _read_group(table, group, columns, where, first, origin)
                except _ERRORS as error:
                    origin.set_aside.add(DAMAGED, f"{where}, row group {group}: {_line(error)}")
    except StoreError:
        raise
    except _ERRORS as error:
        origin.set_aside.add(DAMAGED, f"{where}: {_line(error)}")


def _read_group(
    table: pq.ParquetFile, group: int, columns: list[str], where: str, first: int, origin: Origin
) -> Iterator[Page]:
    """Yield the pages of one row group, whose first row has the number `first` in the file."""
    index = first
    num_rows = _batch_rows(table.metadata.row_group(group), columns)
    for batch in table.iter_batches(num_rows, row_groups=[group], columns=columns):
        for is_large, row in _rows(batch, origin.max_page_bytes):
            if is_large:
                origin.set_aside.add(TOO_LARGE, f"{where}#{index}")
            else:
                yield from read_row(row, f"{where}#{index}", origin)
            index += 1


def _batch_rows(group: Any, columns: list[str]) -> int:
    """Return how many rows to unpack at a time.

    A value of a dictionary may stand in every row, so what the whole dictionary could hold is
    counted for each; other columns are as large unpacked as the file says.
    """
    a_row = 1.0
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema.split(".")[0] not in columns:
            continue
        is_dictionary = any("DICTIONARY" in encoding for encoding in column.encodings)
        size = column.total_uncompressed_size
        a_row += size if is_dictionary else size / max(group.num_rows, 1)
    return int(min(max(BATCH_BYTES / a_row, 4), MAX_BATCH_ROWS))


def _rows(batch: pa.RecordBatch, max_bytes: int) -> Iterator[tuple[bool, Any]]:
    """Yield whether a row has a value above the limit, and the row; a large one is not copied."""
    large: set[int] = set()
    for column in batch.columns:
        if _is_bytes(column.type) and len(column):
            above = pc.greater(pc.binary_length(column), max_bytes)
            large.update(pc.indices_nonzero(above).to_pylist())
    if not large:
        yield from ((False, row) for row in batch.to_pylist())
        return
    for number in range(batch.num_rows):
        if number in large:
            yield True, None
        else:
            yield False, batch.slice(number, 1).to_pylist()[0]


def _is_bytes(kind: pa.DataType) -> bool:
    kinds = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary())
    return any(kind == known for known in kinds)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
