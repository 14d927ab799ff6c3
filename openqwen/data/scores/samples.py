"""A user's texts for training scorers: files of texts, or the marks of an audit page.

    texts = read_texts([Path("good.jsonl")], set_aside)
    good, bad = read_marks(Path("audit-marks.json"), [Path("corpus/documents")], set_aside)

A row that is no text is set aside and counted; the rest goes on.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.data.audit.marks import QUALITY_STEPS
from openqwen.data.audit.marks import read_marks as marks_of_files
from openqwen.data.config import ExtractConfig
from openqwen.data.extraction.extract import extract
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.readers import read_path
from openqwen.data.steps import Rejected


def read_texts(paths: Sequence[Path], set_aside: SetAside) -> Iterator[str]:
    """Yield the texts of `read_documents`."""
    return (document.text for document in read_documents(paths, set_aside))


def read_documents(paths: Sequence[Path], set_aside: SetAside) -> Iterator[Document]:
    """Yield the texts of files or folders of .jsonl, .parquet, .txt, .html and the like, in order.

    Args:
        paths: files and folders; JSON and Parquet rows have a column `text` (or html, messages …).
        set_aside: gets what could not be read.

    Raises:
        UserError: if there is no such path.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        pages = read_path(
            path, source=path.name, licence="", config=SourcesConfig(), set_aside=set_aside
        )
        for outcome in extract(ExtractConfig(), pages):
            if isinstance(outcome, Rejected):
                set_aside.add(outcome.reason, outcome.document.id)
            else:
                yield outcome


def read_marks(
    marks: Path, documents: Sequence[Path], set_aside: SetAside
) -> tuple[list[str], list[str]]:
    """Return the good and the bad texts that the marks of an audit page speak of.

    A mark judges a text (`data.audit.marks`). Drops by steps that don't judge the text itself are
    set aside, and texts that are marked both ways.

    Args:
        marks: the JSON file that the page saved.
        documents: Parquet files, or folders of them, with columns id and text: documents and drops.
        set_aside: gets marks that can't be used.

    Raises:
        UserError: if the file holds no marks, or no Parquet file is found.
    """
    found, left_out = marks_of_files([marks])
    for reason, count in left_out.items():
        for _ in range(count):
            set_aside.add(reason, str(marks))
    is_good: dict[str, bool] = {}
    for mark in found:
        if mark.step not in QUALITY_STEPS:
            set_aside.add(f"mark on a drop by {mark.step}", mark.id)
        elif is_good.setdefault(mark.id, mark.is_good) != mark.is_good:
            set_aside.add("marked both ways", mark.id)
    texts: tuple[list[str], list[str]] = ([], [])
    for id, text in _texts_of(is_good, documents):
        texts[0 if is_good.pop(id) else 1].append(text)
    for id in is_good:
        set_aside.add("marked, but its text is not there", id)
    return texts


def _texts_of(wanted: Iterable[str], documents: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield id and text of the wanted documents, each once."""
    left = set(wanted)
    files = [
        file
        for path in documents
        for file in (list_files(path) if path.is_dir() else [path])
        if file.suffix == ".parquet"
    ]
    if not files:
        names = ", ".join(map(str, documents)) or "nothing"
        raise UserError(f"--documents {names}: no Parquet file of documents or drops there")
    for file in files:
        for row in _rows(file):
            if row["id"] in left and isinstance(row["text"], str):
                left.discard(row["id"])
                yield row["id"], row["text"]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(file) as parquet:
            if {"id", "text"} <= set(parquet.schema_arrow.names):
                for batch in parquet.iter_batches(1024, columns=["id", "text"]):
                    yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} can't be read as Parquet: {error}") from None
