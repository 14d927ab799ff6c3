"""Gzip files of one member or many, unpacked as they are read, and on behind a damaged member.

    stream = GzipStream(packed)
    while data := stream.read(1 << 16): ...      # raises one of GZIP_ERRORS at damage
    stream.resume()                              # True: the next member follows

Hands out all that comes before the damage, which Python's own `gzip` loses with its buffer.
"""

import gzip
import io
import zlib
from typing import IO, Any

GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
CHUNK_BYTES = 1 << 16
_MAGIC = b"\x1f\x8b\x08"
_WITH_HEADER = 31  # zlib's window bits for gzip with its header and checksum


class GzipStream(io.RawIOBase):
    """The unpacked bytes of a gzip file, which is closed with this one."""

    def __init__(self, packed: IO[bytes]) -> None:
        """Take a file open at the first member."""
        self.packed = packed
        self.input = b""
        self.taken = 0  # bytes read of the packed file
        self.begun = 0  # where in it the member at hand begins
        self.member: zlib._Decompress | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer with what comes next; 0 at the end.

        Raises:
            EOFError, gzip.BadGzipFile, zlib.error: the file is cut or damaged here.
        """
        view = memoryview(buffer).cast("B")
        while len(view):
            if self.member is None and not self._begin():
                return 0
            assert self.member is not None, "a member has begun"
            data = self.member.decompress(self.input, len(view))
            if self.member.eof:
                self.input = self.member.unused_data
                self.member = None
            else:
                self.input = self.member.unconsumed_tail
            if data:
                view[: len(data)] = data
                return len(data)
            if self.member is not None and not self.input and not self._fill():
                raise EOFError("the file ends within a gzip member")
        return 0

    def resume(self) -> bool:
        """Go on at the next member after damage; return whether there is one.

        The search begins in the damaged member: one that is cut reads on into the next.
        """
        self.member = None
        self.packed.seek(self.begun + 1)
        self.taken, self.input = self.begun + 1, b""
        while self._fill():
            place = self.input.find(_MAGIC)
            self.input = self.input[place:] if place >= 0 else self.input[1 - len(_MAGIC) :]
            if place >= 0:
                return True
        return False

    def close(self) -> None:
        """Close the file below too."""
        if not self.closed:
            self.packed.close()
        super().close()

    def _begin(self) -> bool:
        """Begin the next member; return False at the file's end."""
        while True:
            self.input = self.input.lstrip(b"\0")  # padding between members is allowed
            if self.input[: len(_MAGIC)] == _MAGIC:
                self.begun = self.taken - len(self.input)
                self.member = zlib.decompressobj(_WITH_HEADER)
                return True
            if len(self.input) >= len(_MAGIC):
                raise gzip.BadGzipFile(f"not a gzipped file ({self.input[:2]!r})")
            if not self._fill():
                if self.input:
                    raise EOFError("the file ends within a gzip header")
                return False

    def _fill(self) -> bool:
        more = self.packed.read(CHUNK_BYTES)
        self.taken += len(more)
        self.input += more
        return bool(more)
