"""An index of earlier crawls: the sketches of what was kept, a folder a crawl.

    find_duplicates(engine, work, parts, config, index=index)      # new ones like old ones go
    extend_index(index, "2026-11", parts, verdicts, config)        # and what was kept joins

The documents of the index are not there, only what tells whether a new one is like them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openqwen.core.errors import UserError
from openqwen.core.files import flush_directory
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.key_runs import read_partition
from openqwen.data.dedup.sketches import SketchPart, SketchWriter
from openqwen.data.dedup.verdicts import Reason, read_reasons
from openqwen.data.kernels.ops import Sketches

BATCH_ROWS = 20_000
NEW = ".new"  # ends the name of a crawl that is being added


def index_parts(index: Path, *, without: str = "") -> list[Path]:
    """Return the parts of an index, in order of crawl and name; none where it isn't there yet.

    Raises:
        UserError: if the path holds something else.
    """
    if not index.exists():
        return []
    if not index.is_dir():
        raise UserError(f"--index {index} is a file; give a folder, an index or a new name")
    crawls = sorted(p for p in index.iterdir() if not p.name.endswith(NEW))
    for crawl in crawls:
        if not crawl.is_dir() or not any(crawl.glob("*/sketch.json")):
            raise UserError(f"--index {index} holds {crawl.name}, which is no crawl of an index")
    return [
        part.parent
        for crawl in crawls
        if crawl.name != without
        for part in sorted(crawl.glob("*/sketch.json"))
    ]


def extend_index(
    index: Path,
    crawl: str,
    parts: Sequence[Path],
    verdicts: Sequence[Path],
    config: MinHashConfig,
) -> int:
    """Add the kept documents of a crawl; in place of what it added before under the same name.

    Args:
        index: folder of the index; made where it isn't there.
        crawl: a name of its own for this crawl.
        parts: its sketches.
        verdicts: what `find_duplicates` returned for them.
        config: settings of the sketches.

    Returns:
        Documents added.
    """
    temporary = index / f"{crawl}{NEW}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    added = 0
    for place, (part, verdict) in enumerate(zip(parts, verdicts, strict=True)):
        added += _copy_kept(part, verdict, temporary / f"{place:05}", config)
    shutil.rmtree(index / crawl, ignore_errors=True)
    temporary.rename(index / crawl)
    flush_directory(index)
    return added


def _copy_kept(part: Path, verdict: Path, folder: Path, config: MinHashConfig) -> int:
    """Write the kept rows of a part as a part of its own."""
    source = SketchPart(part)
    facts = source.facts()
    is_kept = read_reasons(verdict) == Reason.KEPT
    bands_DB = _bands(source)
    with SketchWriter(folder, config) as writer:
        for start in range(0, source.count, BATCH_ROWS):
            rows = np.flatnonzero(is_kept[start : start + BATCH_ROWS]) + start
            values, begins, ends = source.shingles.read(rows)
            chosen = [values[b:e] for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]
            sketches = Sketches(
                np.concatenate([np.empty(0, dtype=np.uint32), *chosen]),
                np.cumsum(ends - begins),
                np.empty((0, 0), dtype=np.uint32),
                bands_DB[rows],
                [],
            )
            ids = [id.encode("utf-8", "surrogatepass") for id in source.ids(rows)]
            writer.write_rows(facts[rows], ids, sketches)
    return int(is_kept.sum())


def _bands(part: SketchPart) -> "np.ndarray[tuple[int, int], np.dtype[np.uint64]]":
    """Return (documents, bands) keys, in any order within a row; zeros without shingles."""
    count = part.about["settings"]["bands"]
    found = np.zeros((part.count, count), dtype=np.uint64)
    for keys, rows in read_partition(part.folder, "bands", partition=0, partitions=1):
        order = np.argsort(rows, kind="stable")  # a document's keys are all of one run
        found[rows[order][::count]] = keys[order].reshape(-1, count)
    return found
