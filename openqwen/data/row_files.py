"""Files of rows: JSON Lines, JSON lists and Parquet, a page a row.

    for page in read_jsonl(path, "part-0.jsonl.gz", origin): ...

A row that is no page is set aside; the rest of its file goes on.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import Page
from openqwen.data.conversation_rows import BadRowError
from openqwen.data.origin import TOO_LARGE, Origin, open_unpacked
from openqwen.data.rows import COLUMNS, PAGE_COLUMNS, row_content, row_text

PARQUET_ROWS = 64  # in memory at a time
LIST_PAGES = 16  # a JSON list is parsed whole; it may have the size of this many largest pages
SKIP_BYTES = 1 << 20
BAD_JSON = (ValueError, RecursionError)
UTF8_MARK = b"\xef\xbb\xbf"


def read_jsonl(path: Path, where: str, origin: Origin) -> Iterator[Page]:
    """Yield a page for each line of a file of JSON objects; empty lines are no rows."""
    with open_unpacked(path) as file:
        index = 0
        while line := file.readline(origin.max_page_bytes + 1):
            place = f"{where}#{index}"
            index += 1
            if len(line) > origin.max_page_bytes and not line.endswith(b"\n"):
                while (rest := file.readline(SKIP_BYTES)) and not rest.endswith(b"\n"):
                    pass
                origin.set_aside.add(TOO_LARGE, place)
            elif line.strip():
                try:
                    row = _parse(line)
                except BAD_JSON as error:
                    origin.set_aside.add(_reason(error), place)
                else:
                    yield from _read_row(row, place, origin)


def read_json(path: Path, where: str, origin: Origin) -> Iterator[Page]:
    """Yield the pages of a list of rows or of one row; JSON Lines under this name are read too."""
    with open_unpacked(path) as file:
        if _is_object(file.readline(origin.max_page_bytes)):
            yield from read_jsonl(path, where, origin)
            return
    limit = LIST_PAGES * origin.max_page_bytes
    with open_unpacked(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        origin.set_aside.add("list too large for .json; use .jsonl", where)
        return
    try:
        value = _parse(data)
    except BAD_JSON as error:
        origin.set_aside.add(_reason(error), where)
        return
    for index, row in enumerate(value if isinstance(value, list) else [value]):
        yield from _read_row(row, f"{where}#{index}", origin)


def read_parquet(path: Path, where: str, origin: Origin) -> Iterator[Page]:
    """Yield a page for each row of a Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in COLUMNS if name in file.schema_arrow.names]
            if not PAGE_COLUMNS & set(columns):
                origin.set_aside.add("no column of text, html or conversations", where)
                return
            index = 0
            for batch in file.iter_batches(PARQUET_ROWS, columns=columns):
                for row in batch.to_pylist():
                    yield from _read_row(row, f"{where}#{index}", origin)
                    index += 1
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        origin.set_aside.add("truncated or corrupt Parquet", f"{where}: {error}")


def _read_row(row: Any, place: str, origin: Origin) -> Iterator[Page]:
    """Yield the page of one row, or set it aside."""
    try:
        media, content = row_content(row)
        known = {name: row_text(row, name) for name in ("id", "url", "source")}
        known["licence"] = row_text(row, "licence", "license")
        "".join(known.values()).encode()
    except BadRowError as error:
        origin.set_aside.add(str(error), place)
    except UnicodeEncodeError:
        origin.set_aside.add("half a surrogate pair", place)
    else:
        yield from origin.page(place, media, content, **known)


def _parse(data: bytes) -> Any:
    return json.loads(data.removeprefix(UTF8_MARK).decode())


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(_parse(line), dict)
    except BAD_JSON:
        return False


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
