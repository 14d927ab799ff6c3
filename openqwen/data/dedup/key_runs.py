"""Keys of many rows, sorted into buckets as they are written, so that a partition reads its own.

    writer = KeyRunWriter(folder, "bands")
    writer.append(keys, rows)            # any number of times
    writer.close()
    for keys, rows in read_partition(folder, "bands", partition=3, partitions=8): ...

A run is what was held in memory at once. Within it entries stand by bucket, the first ten bits of
the key; a partition is some neighbouring buckets, one contiguous piece of each run.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openqwen.data.shingles import Hashes

Rows = NDArray[np.uint32]

BUCKET_BITS = 10
BUCKETS = 1 << BUCKET_BITS  # also the most partitions
RUN_ENTRIES = 2_000_000  # 24 MB
SHIFT = np.uint64(64 - BUCKET_BITS)


class KeyRunWriter:
    """Collects keys, sorts them by bucket and writes them in runs."""

    def __init__(self, folder: Path, name: str) -> None:
        """Begin NAME.keys and NAME.rows; NAME.json names the runs at the end."""
        self.folder, self.name = folder, name
        self.keys: list[Hashes] = []
        self.rows: list[Rows] = []
        self.held = 0
        self.total = 0
        self.runs: list[list[int]] = []
        self.key_file = (folder / f"{name}.keys").open("wb")
        self.row_file = (folder / f"{name}.rows").open("wb")

    def append(self, keys: Hashes, rows: Rows) -> None:
        """Take entries; rows are numbers within the part."""
        self.keys.append(keys)
        self.rows.append(rows)
        self.held += len(keys)
        if self.held >= RUN_ENTRIES:
            self._write_run()

    def close(self) -> None:
        """Write what is held, and where the runs' buckets start."""
        self._write_run()
        self.key_file.close()
        self.row_file.close()
        (self.folder / f"{self.name}.json").write_text(json.dumps(self.runs))

    def _write_run(self) -> None:
        if not self.held:
            return
        keys, rows = np.concatenate(self.keys), np.concatenate(self.rows)
        buckets = (keys >> SHIFT).astype(np.uint16)
        order = np.argsort(buckets, kind="stable")
        self.key_file.write(keys[order].data)
        self.row_file.write(rows[order].data)
        starts = np.zeros(BUCKETS + 1, dtype=np.int64)
        np.cumsum(np.bincount(buckets, minlength=BUCKETS), out=starts[1:])
        self.runs.append((starts + self.total).tolist())
        self.total += self.held
        self.keys, self.rows, self.held = [], [], 0


def read_partition(
    folder: Path, name: str, *, partition: int, partitions: int
) -> Iterator[tuple[Hashes, Rows]]:
    """Yield a partition's keys and rows, one run after the other.

    Args:
        folder: the part's.
        name: the writer's.
        partition: 0 … partitions - 1.
        partitions: a power of two, at most BUCKETS.
    """
    width = BUCKETS // partitions
    for starts in json.loads((folder / f"{name}.json").read_text()):
        start, end = starts[partition * width], starts[(partition + 1) * width]
        if end > start:
            yield (
                np.fromfile(folder / f"{name}.keys", "<u8", end - start, offset=8 * start),
                np.fromfile(folder / f"{name}.rows", "<u4", end - start, offset=4 * start),
            )


def count_partitions(entries: int, entry_bytes: int, partition_bytes: int) -> int:
    """Return how many partitions keep each within `partition_bytes`: a power of two."""
    partitions = 1
    while partitions < BUCKETS and entries * entry_bytes > partitions * partition_bytes:
        partitions *= 2
    return partitions
