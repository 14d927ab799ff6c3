"""In-memory duplicates, until the package `dedup` takes its place."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from openqwen.core.documents import Document, read_documents
from openqwen.core.files import write_json
from openqwen.data.config import MinHashConfig
from openqwen.data.exact_dedup import drop_exact_duplicates
from openqwen.data.steps import Rejected


class Verdict(NamedTuple):
    """A dropped document."""

    id: str
    reason: str
    score: float
    detail: str


class SketchWriter:
    """Nothing yet."""

    def __init__(self, folder: Path, config: MinHashConfig) -> None:
        """Name the folder."""
        self.folder = folder

    def __enter__(self) -> Self:
        """Start."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def add(self, documents: Sequence[Document]) -> None:
        """Take documents."""


def find_duplicates(
    engine: Any,
    work: Path,
    parts: Sequence[Path],
    config: MinHashConfig,
    *,
    skip: frozenset[str],
    index: Path | None,
) -> list[Path]:
    """Return a file of verdicts a part."""
    documents = [d for part in parts for d in read_documents(part.parent / "documents.parquet")]
    found: dict[str, tuple[str, float, str]] = {}
    steps = {"exact": drop_exact_duplicates}
    for name, step in steps.items():
        if name not in skip:
            kept = []
            for outcome in step(documents):
                if isinstance(outcome, Rejected):
                    found[outcome.document.id] = (
                        outcome.reason,
                        outcome.score or 0,
                        outcome.detail,
                    )
                else:
                    kept.append(outcome)
            documents = kept
    write_json(work / "verdicts.json", found)
    return [work / "verdicts.json"] * len(parts)


def read_verdicts(path: Path) -> list[Verdict]:
    """Read them."""
    return [Verdict(id, *rest) for id, rest in json.loads(path.read_text()).items()]
