"""What becomes of each document of a part, in two files: its reason, and for the dropped why.

for verdict in read_verdicts(path): ...         # the dropped ones, in the part's order
reasons = read_reasons(path)                    # (documents,) of all
"""

from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

VERDICTS, REASONS = "verdicts.parquet", "reasons.npy"


class Reason(IntEnum):
    """Why a document goes; 0 stays."""

    KEPT = 0
    NO_WORDS = 1
    SAME_URL = 2
    SAME_TEXT = 3
    NEAR = 4

    @property
    def words(self) -> str:
        """Return it as people read it."""
        return ("", "no words", "same url", "same text", "near duplicate")[self]


class Verdict(NamedTuple):
    """One dropped document of a part."""

    row: int  # its place in the part
    id: str
    reason: str
    score: float  # Jaccard similarity to the survivor
    survivor: str  # id of the one it was dropped for; "" for no words
    cluster: str  # id of the one that stays in the end: the survivor may have had a twin too

    @property
    def detail(self) -> str:
        """Return what a person needs to judge it."""
        if not self.survivor:
            return ""
        return f"Jaccard {self.score:.3f} to {self.survivor}"


def write_verdicts(
    folder: Path,
    reasons: NDArray[np.int8],
    scores: NDArray[np.float64],
    ids: list[str],
    survivors: list[str],
    clusters: list[str],
) -> None:
    """Write the verdicts of a part.

    Args:
        folder: where to.
        reasons: (documents,) `Reason`s.
        scores: (documents,) similarity to the survivor.
        ids: of the dropped ones, in order.
        survivors: ids of those they were dropped for, where a reason has any.
        clusters: ids of those that stay for them in the end.
    """
    np.save(folder / REASONS, reasons)
    rows = np.flatnonzero(reasons)
    has_survivor = reasons[rows] >= Reason.SAME_URL
    words = np.array([reason.words for reason in Reason], dtype=object)
    table = pa.table(
        {
            "row": pa.array(rows, pa.int64()),
            "id": _names(ids, np.ones(len(rows), dtype=bool)),
            "reason": pa.array(words[reasons[rows]], pa.string()),
            "score": pa.array(scores[rows], pa.float64()),
            "survivor": _names(survivors, has_survivor),
            "cluster": _names(clusters, has_survivor),
        }
    )
    pq.write_table(table, folder / VERDICTS, compression="zstd")


def read_reasons(folder: Path) -> NDArray[np.int8]:
    """Return the reasons of all documents of a part."""
    reasons: NDArray[np.int8] = np.load(folder / REASONS)
    return reasons


def read_verdicts(folder: Path) -> Iterator[Verdict]:
    """Yield the dropped documents of a part, in its order."""
    with pq.ParquetFile(folder / VERDICTS) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                for name in ("id", "survivor", "cluster"):
                    row[name] = row[name].decode("utf-8", "surrogatepass")
                yield Verdict(**row)


def _names(ids: list[str], has_one_R: NDArray[np.bool_]) -> pa.Array:
    """Return ids as bytes, as an id may hold half a surrogate pair; empty where there is none."""
    found = np.full(len(has_one_R), b"", dtype=object)
    found[has_one_R] = [id.encode("utf-8", "surrogatepass") for id in ids]
    return pa.array(found, pa.binary())
