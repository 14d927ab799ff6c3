"""Documents for the tokenizer's verbs: what the documents stage wrote, or files of text.

    for document in read_texts([Path("corpus/documents"), Path("zh.jsonl.gz")], split="train"): ...

A file's language is its folder's or its own name's first part where that is a code: `zh.jsonl`,
`th/page.txt`, `code_small.jsonl`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openqwen.core.documents import DOCUMENT_SCHEMA, Document, Page, read_documents
from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.data.extraction.html import main_text
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.readers import read_path
from openqwen.data.inputs.rows import HTML, MESSAGES, PYTHON

UNKNOWN = "und"
_CODE = "code"
_NAME = re.compile(rf"({_CODE}|[a-z]{{2,3}})(?=[._-]|$)")
_NOT_LANGUAGES = ("txt", "doc", "src", "out", "data", "test", "part")


def read_texts(
    paths: Iterable[Path], *, split: str, set_aside: SetAside | None = None
) -> Iterator[Document]:
    """Yield the documents of files and folders, in the order given, folders in sorted order.

    Args:
        paths: a documents stage's directory, folders, files of the kinds that
            `data.inputs.readers` knows.
        split: which part of the documents stage's files counts: "train" or "validation".
        set_aside: gets what could not be read.

    Raises:
        UserError: if a path does not exist.
    """
    aside = SetAside() if set_aside is None else set_aside
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        for file in _stage_files(path) or (list_files(path) if path.is_dir() else [path]):
            if _holds_documents(file):
                yield from (d for d in read_documents(file) if d.split == split)
            else:
                yield from _read_file(file, path, aside)


def language_of(path: Path, folder: Path) -> str:
    """Return the language that a file's name, or that of a folder below `folder`, begins with."""
    inside = path.relative_to(folder) if path != folder else Path(path.name)
    for part in reversed(inside.parts):
        found = _NAME.match(part)
        if found and found[1] not in _NOT_LANGUAGES:
            return found[1]
    return UNKNOWN


def _read_file(file: Path, folder: Path, aside: SetAside) -> Iterator[Document]:
    language = language_of(file, folder)
    pages = read_path(file, source=file.name, licence="", config=SourcesConfig(), set_aside=aside)
    for page in pages:
        document = _document(page, language)
        if document is None:
            aside.add("not UTF-8", page.id)
        else:
            yield document


def _document(page: Page, language: str) -> Document | None:
    try:
        text = page.content.decode()
    except UnicodeDecodeError:
        return None
    media = PYTHON if language == _CODE else page.media
    document = Document(
        id=page.id,
        source=page.source,
        url=page.url,
        licence=page.licence,
        media=media,
        text=text,
        language=language,
    )
    if page.media == MESSAGES:
        document.messages, document.text = json.loads(text), ""
    elif page.media == HTML:
        document.text = main_text(text)
    return document


def _holds_documents(file: Path) -> bool:
    if file.suffix != ".parquet":
        return False
    try:
        names = set(pq.read_schema(file).names)
    except (OSError, pa.ArrowException):
        return False  # the reader of files says what is wrong with it
    return set(DOCUMENT_SCHEMA.names) <= names


def _stage_files(path: Path) -> list[Path]:
    """Return the files of a documents stage's directory, or of what `data build` wrote; else []."""
    for folder in (path / "documents" / "documents", path / "documents"):
        files = sorted(folder.glob("*.parquet"))
        if files and all(map(_holds_documents, files)):
            return files
    return []
