"""Inputs cut into pieces of about one size: small files together, big ones in parts.

    for split in list_splits(["pages/", "s3://bucket/rows.jsonl"], target_bytes=64 << 20):
        origin = Origin(split.source, "MIT", max_page_bytes, SetAside())
        for page in read_split(split, origin): ...

The pages of all splits together, and their ids, are the same whatever the target.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import Page
from openqwen.data.inputs.origin import Origin
from openqwen.data.inputs.readers import KNOWN_KINDS, PAGE_KINDS, place_of, read_file
from openqwen.data.inputs.row_files import WHOLE_BYTES
from openqwen.data.inputs.stores import Entry, InputFile, Store, StoreError, find_store

FILE_COST_BYTES = 4096  # opening a file is work too: a folder of empty ones is more than one split


@dataclass(frozen=True, slots=True)
class Part:
    """A file, or a range of it: bytes of JSON Lines, row groups of Parquet."""

    path: str
    where: str  # its name in ids
    start: int = 0
    end: int | None = None  # None is the file's end
    trouble: str = ""  # why it can't be read, where the listing showed that


@dataclass(frozen=True, slots=True)
class Split:
    """What one task reads: parts of one source, in order, and about how many bytes they have."""

    source: str
    store: str  # the URI the paths belong to, "" for this machine
    parts: tuple[Part, ...]
    num_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; names that are not UTF-8 survive (`from_json`)."""
        return {
            "source": self.source,
            "store": self.store,
            "parts": [[_escape(p.path), p.where, p.start, p.end, p.trouble] for p in self.parts],
            "num_bytes": self.num_bytes,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Split":
        """Return the split that `as_json` wrote down."""
        parts = tuple(Part(_unescape(path), *rest) for path, *rest in value["parts"])
        return cls(value["source"], value["store"], parts, value["num_bytes"])


def list_splits(paths: Sequence[str], *, target_bytes: int) -> list[Split]:
    """Return the splits of files, folders and URIs: each path is a source, files in sorted order.

    Files are grouped up to the target; `.jsonl` above `row_files.WHOLE_BYTES` and the target is cut
    into equal ranges of bytes, `.parquet` above the target into ranges of row groups. Anything else
    (gzip, WARC) is read from its beginning, so it stays whole. What a listing shows to be
    unreadable stands in a split too, to be counted by who reads it.

    Raises:
        UserError: a path that does not exist, a store that can't be reached.
    """
    splits: list[Split] = []
    names: list[str] = []
    for given in paths:
        store, path = find_store(given)
        entries, is_folder = store.list(path)
        names.append(source_name(path, names, is_folder=is_folder))
        pieces = (piece for entry in entries for piece in _cut(store, entry, target_bytes))
        splits += _group(names[-1], store.uri, pieces, target_bytes)
    return splits


def is_readable(part: Part) -> bool:
    """Return whether a part is of a known kind and its listing showed nothing against it."""
    kind = InputFile(Store(""), part.path).kind
    return not part.trouble and (kind in KNOWN_KINDS)


def read_split(split: Split, origin: Origin) -> Iterator[Page]:
    """Yield a split's pages; what can't be read is set aside in `origin`, whose source it has.

    Raises:
        StoreError: an object store that doesn't answer.
    """
    store = Store(split.store)
    for part in split.parts:
        if part.trouble:
            reason, _, detail = part.trouble.partition(": ")
            origin.set_aside.add(reason, f"{part.where}: {detail}" if detail else part.where)
        else:
            file = InputFile(store, part.path)
            yield from read_file(file, part.where, origin, part.start, part.end)


def source_name(path: str, taken: Iterable[str], *, is_folder: bool) -> str:
    """Return a source name made from a path: its last part without the kind, numbered if taken."""
    name = os.path.basename(os.path.abspath(path))
    for suffix in () if is_folder else (".gz", *KNOWN_KINDS):
        name = name.removesuffix(suffix)
    name = re.sub(r"[^\w.-]+", "-", place_of(name)).strip("-.") or "files"
    taken = set(taken)
    numbered = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(candidate for candidate in numbered if candidate not in taken)


def _cut(store: Store, entry: Entry, target_bytes: int) -> Iterator[tuple[Part, int]]:
    """Yield an entry whole or in ranges, each with its size."""
    where, size = place_of(entry.name), entry.num_bytes
    file = InputFile(store, entry.path)
    if entry.trouble or file.kind not in KNOWN_KINDS:
        yield Part(entry.path, where, trouble=entry.trouble), 0
        return
    ranges = 1 if file.is_gzipped or file.kind in PAGE_KINDS else -(-size // target_bytes)
    if file.kind == ".jsonl" and size > WHOLE_BYTES:
        length = size
    elif file.kind == ".parquet" and ranges > 1:
        length = _count_row_groups(file)
        ranges = min(ranges, length)
    else:
        ranges = 1
    if ranges <= 1:
        yield Part(entry.path, where), size
        return
    edges = [index * length // ranges for index in range(ranges + 1)]
    for start, end in pairwise(edges):
        yield Part(entry.path, where, start, end), size // ranges


def _count_row_groups(file: InputFile) -> int:
    """Return how many row groups a Parquet file has, 1 where it can't be read as such."""
    try:
        with file.open() as opened, pq.ParquetFile(opened) as table:
            return int(table.num_row_groups)
    except StoreError:
        raise
    except (OSError, pa.ArrowException):
        return 1


def _group(
    source: str, store: str, pieces: Iterable[tuple[Part, int]], target_bytes: int
) -> Iterator[Split]:
    """Yield splits of consecutive parts, as many as the target takes, at least one."""
    parts: list[Part] = []
    size = cost = 0
    for part, num_bytes in pieces:
        own_cost = max(num_bytes, FILE_COST_BYTES)
        if parts and cost + own_cost > target_bytes:
            yield Split(source, store, tuple(parts), size)
            parts, size, cost = [], 0, 0
        parts.append(part)
        size += num_bytes
        cost += own_cost
    if parts:
        yield Split(source, store, tuple(parts), size)


def _escape(path: str) -> str | list[str]:
    """Return a path, or the hex of its bytes in a list where it is not UTF-8."""
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return [raw.hex()]


def _unescape(path: str | list[str]) -> str:
    return path if isinstance(path, str) else os.fsdecode(bytes.fromhex(path[0]))
