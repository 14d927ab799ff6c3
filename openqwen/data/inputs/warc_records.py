"""The records of a WARC file, also of one whose lengths are wrong or whose members are damaged.

    for record in read_records(stream, max_bytes=16_000_000):
        record.type, record.url, record.media, record.block

A record must end where its length says and another one or the end must follow; else its length is
wrong, and reading goes on at the next line that opens a record.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from openqwen.data.inputs.gzip_stream import GZIP_ERRORS, GzipStream

CHUNK_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 20
DAMAGED, TOO_LARGE = "damaged", "too large"
_OPENING, _RECORD_END = b"WARC/", b"\r\n\r\n"
_NEXT = re.compile(rb"(?:^|\n)(?=WARC/\d\.\d\r?\n)")
_NEXT_BYTES = 16  # a match can't be longer, for the seam between two chunks
_HEADER_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `trouble` is DAMAGED or TOO_LARGE where it has no block."""

    headers: dict[str, str] = field(default_factory=dict)
    block: bytes = b""
    trouble: str = ""
    detail: str = ""

    @property
    def type(self) -> str:
        """Return its kind: response, resource, conversion …"""
        return self.headers.get("warc-type", "").lower()


def read_records(stream: IO[bytes], max_bytes: int) -> Iterator[Record]:
    """Yield the records of an unpacked or gzipped stream, each damage as a record with trouble.

    Args:
        stream: of a WARC file; a `GzipStream` goes on behind damaged members.
        max_bytes: a larger block is passed over.
    """
    tape = _Tape(stream)
    while True:
        tape.skip_line_ends()
        if not tape.need(1):
            if not tape.damage:
                return
        elif tape.starts_with(_OPENING):
            yield _read_record(tape, max_bytes)
        else:
            tape.skip_to_next(0)
            yield Record(trouble=DAMAGED, detail="no record begins here")
        if tape.damage and not tape.need(1):
            if not tape.reported:
                yield Record(trouble=DAMAGED, detail=tape.damage)
            if not tape.resume():
                return


def _read_record(tape: "_Tape", max_bytes: int) -> Record:
    """Return the record at the tape's place, and leave it behind."""
    end = tape.find_header_end()
    if end is None:
        tape.skip_to_next(1)
        return tape.report(Record(trouble=DAMAGED, detail="its header has no end"))
    headers = _parse_headers(tape.take(end))
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        tape.skip_to_next(0)
        return Record(headers, trouble=DAMAGED, detail=f"its length is {length[:40]!r}")
    size = int(length) if len(length) < 19 else 1 << 62
    if size > max_bytes:
        tape.skip_to_next(0)
        return Record(headers, trouble=TOO_LARGE, detail=f"{size:,} bytes")
    if not tape.need(size):
        tape.skip_to_next(0)
        return tape.report(Record(headers, trouble=DAMAGED, detail="it is cut"))
    if not tape.record_ends_at(size):
        tape.skip_to_next(0)
        return Record(headers, trouble=DAMAGED, detail=f"its length is not {size:,}")
    return Record(headers, tape.take(size))


def _parse_headers(head: bytes) -> dict[str, str]:
    """Return header names in lower case -> values."""
    lines = head.decode("utf-8", "replace").splitlines()[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


class _Tape:
    """A stream with as much in memory as is asked for; damage of its packing is an end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.damage = ""  # why the stream gives no more at the moment
        self.reported = False  # whether a record has told of it

    def need(self, size: int) -> bool:
        """Return whether so many bytes can be had."""
        while len(self.buffer) < size:
            if self.damage:
                return False
            try:
                data = self.stream.read(max(CHUNK_BYTES, min(size - len(self.buffer), 1 << 20)))
            except GZIP_ERRORS as error:
                self.damage, self.reported = str(error), False
                return False
            if not data:
                return False
            self.buffer += data
        return True

    def take(self, size: int) -> bytes:
        """Return bytes and leave them behind."""
        data = bytes(memoryview(self.buffer)[:size])
        del self.buffer[:size]
        return data

    def starts_with(self, opening: bytes) -> bool:
        self.need(len(opening))
        return self.buffer.startswith(opening)

    def skip_line_ends(self) -> None:
        while self.need(1) and self.buffer[0] in b"\r\n":
            end = len(self.buffer) - len(self.buffer.lstrip(b"\r\n"))
            del self.buffer[:end]

    def find_header_end(self) -> int | None:
        """Return where the header of the record ends, None where it doesn't."""
        size = CHUNK_BYTES
        while True:
            is_more = self.need(size)
            found = _HEADER_END.search(self.buffer, 0, MAX_HEADER_BYTES)
            if found:
                return found.end()
            if not is_more or size >= MAX_HEADER_BYTES:
                return None
            size *= 4

    def record_ends_at(self, size: int) -> bool:
        """Return whether after so many bytes the next record, or the end, follows.

        Two line ends alone will do, where no other record begins before them.
        """
        self.need(size + len(_RECORD_END) + len(_OPENING))
        after = bytes(memoryview(self.buffer)[size : size + len(_RECORD_END) + len(_OPENING)])
        rest = after.lstrip(b"\r\n")
        if not rest or rest.startswith(_OPENING[: len(rest)]):
            return True
        return after.startswith(_RECORD_END) and not _NEXT.search(self.buffer, 0, size)

    def skip_to_next(self, start: int) -> None:
        """Leave all behind up to the next line that opens a record, or the end."""
        while True:
            found = _NEXT.search(self.buffer, start)
            if found:
                del self.buffer[: found.end()]
                return
            del self.buffer[: max(len(self.buffer) - _NEXT_BYTES, 0)]
            start = 0
            if not self.need(len(self.buffer) + 1):
                self.buffer.clear()
                return

    def report(self, record: Record) -> Record:
        """Note that a record tells of the damage that cut it."""
        self.reported = True
        return record

    def resume(self) -> bool:
        """Go on behind the damage; return whether anything follows."""
        self.damage, self.reported = "", False
        self.buffer.clear()
        stream = cast(Any, self.stream)
        return isinstance(stream, GzipStream) and stream.resume()
