"""Lists of different lengths in one file, row after row, read by row numbers without mapping it.

    with RaggedWriter(folder / "shingles", np.uint32) as writer:
        writer.append(values, ends)                     # of a batch of rows
    values, starts, ends = RaggedFile(folder / "shingles", np.uint32).read(rows)

Beside the values lies a file of ends. Rows near each other are read together, so that reading most
rows of a file is reading the file.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

GAP_BYTES = 32_768  # what lies between two rows is read too if it is no more


class RaggedWriter:
    """Appends rows; both files are whole once it is closed."""

    def __init__(self, path: Path, kind: type[np.generic]) -> None:
        """Begin NAME.values and NAME.ends."""
        self.kind = kind
        self.total = 0
        self.values = path.with_suffix(".values").open("wb", buffering=1 << 20)
        self.ends = path.with_suffix(".ends").open("wb", buffering=1 << 20)

    def append(self, values: NDArray[Any], ends: Places) -> None:
        """Append a batch of rows: their values one behind the other, and where each row ends."""
        assert values.dtype == self.kind, f"{values.dtype} is not {self.kind}"
        self.values.write(np.ascontiguousarray(values).data)
        self.ends.write((ends + self.total).astype("<i8").tobytes())
        self.total += len(values)

    def close(self) -> None:
        """Flush and close both files."""
        self.values.close()
        self.ends.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class RaggedFile:
    """Reads chosen rows."""

    def __init__(self, path: Path, kind: type[np.generic]) -> None:
        """Take the name that the writer took."""
        self.path, self.kind = path, np.dtype(kind)
        self.ends = np.fromfile(path.with_suffix(".ends"), dtype="<i8")

    def lengths(self) -> Places:
        """Return (rows,) how many values each row has."""
        return np.diff(self.ends, prepend=0)

    def read(self, rows: Places) -> tuple[NDArray[Any], Places, Places]:
        """Return values, and where each of the rows starts and ends in them.

        Args:
            rows: row numbers, ascending, each once.
        """
        ends = self.ends[rows]
        starts = np.where(rows > 0, self.ends[rows - 1], 0)
        size = self.kind.itemsize
        # a new block where the hole before a row is large
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = starts[1:] - ends[:-1] > GAP_BYTES // size
        firsts = np.flatnonzero(is_first)
        block_starts = starts[firsts]
        block_ends = ends[np.append(firsts[1:], len(rows)) - 1] if len(rows) else block_starts
        lengths = block_ends - block_starts
        places = np.cumsum(lengths) - lengths
        values = np.empty(int(lengths.sum()), dtype=self.kind)
        with self.path.with_suffix(".values").open("rb", buffering=0) as file:
            for start, length, place in zip(
                block_starts.tolist(), lengths.tolist(), places.tolist(), strict=True
            ):
                file.seek(start * size)
                _fill(file, values[place : place + length])
        shift = (places - block_starts)[np.cumsum(is_first) - 1] if len(rows) else places
        return values, starts + shift, ends + shift


def _fill(file: Any, values: NDArray[Any]) -> None:
    """Read exactly as many bytes as the array has."""
    view = values.view(np.uint8).data
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        assert count, f"{file.name} is shorter than its ends say"
        done += count
