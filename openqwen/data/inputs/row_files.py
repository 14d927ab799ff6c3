"""Files of rows: JSON Lines and JSON lists, a page a row.

    for page in read_jsonl(file, "part-0.jsonl.gz", origin): ...

A row that is no page is set aside; the rest of its file goes on.
"""

import json
from collections.abc import Iterator
from typing import IO, Any

from openqwen.core.documents import Page
from openqwen.data.inputs.origin import TOO_LARGE, Origin, open_unpacked
from openqwen.data.inputs.rows import read_row
from openqwen.data.inputs.stores import InputFile

WHOLE_BYTES = 64 << 20  # a larger .jsonl may be read in parts, so its rows are named by byte
LIST_PAGES = 16  # a JSON list is parsed whole; it may have the size of this many largest pages
SKIP_BYTES = 1 << 20
BAD_JSON = (ValueError, RecursionError)
UTF8_MARK = b"\xef\xbb\xbf"


def read_jsonl(
    file: InputFile, where: str, origin: Origin, start: int = 0, end: int | None = None
) -> Iterator[Page]:
    """Yield a page for each line that begins in bytes `start` to `end` of a file of JSON objects.

    Empty lines are no rows. A row is named by its number, in files above `WHOLE_BYTES` (which may
    be read in parts) by the byte it begins at: the same name however the file is split.
    """
    by_byte = not file.is_gzipped and file.store.num_bytes(file.path) > WHOLE_BYTES
    with open_unpacked(file) as opened:
        index, offset = 0, start
        if start:
            opened.seek(start - 1)
            offset += skip_line(opened) - 1
        while (end is None or offset < end) and (
            line := opened.readline(origin.max_page_bytes + 1)
        ):
            place = f"{where}@{offset}" if by_byte else f"{where}#{index}"
            index, offset = index + 1, offset + len(line)
            if len(line) > origin.max_page_bytes and not line.endswith(b"\n"):
                offset += skip_line(opened)
                origin.set_aside.add(TOO_LARGE, place)
            elif line.strip():
                try:
                    row = _parse(line)
                except BAD_JSON as error:
                    origin.set_aside.add(_reason(error), place)
                else:
                    yield from read_row(row, place, origin)


def skip_line(file: IO[bytes]) -> int:
    """Go to the next line in small steps; return how many bytes were passed."""
    passed = 0
    while rest := file.readline(SKIP_BYTES):
        passed += len(rest)
        if rest.endswith(b"\n"):
            break
    return passed


def read_json(file: InputFile, where: str, origin: Origin) -> Iterator[Page]:
    """Yield the pages of a list of rows or of one row; JSON Lines under this name are read too."""
    with open_unpacked(file) as opened:
        is_lines = _is_object(opened.readline(origin.max_page_bytes))
    if is_lines:
        yield from read_jsonl(file, where, origin)
        return
    limit = LIST_PAGES * origin.max_page_bytes
    with open_unpacked(file) as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        origin.set_aside.add("list too large for .json; use .jsonl", where)
        return
    try:
        value = _parse(data)
    except BAD_JSON as error:
        origin.set_aside.add(_reason(error), where)
        return
    for index, row in enumerate(value if isinstance(value, list) else [value]):
        yield from read_row(row, f"{where}#{index}", origin)


def _parse(data: bytes) -> Any:
    return json.loads(data.removeprefix(UTF8_MARK).decode())


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(_parse(line), dict)
    except BAD_JSON:
        return False


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
