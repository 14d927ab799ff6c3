"""Long texts to measure on: plain text files, or rows of JSON Lines, JSON and Parquet files.

documents = read_long_texts([Path("books.jsonl.gz")], tokenizer, num_tokens=16_385, count=8)
"""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.origin import GZIP_ERRORS, SetAside
from openqwen.data.inputs.readers import READERS, read_path
from openqwen.data.inputs.rows import PYTHON, TEXT
from openqwen.tokenizer.tokenizer import Tokenizer

MAX_ROW_BYTES = 64_000_000


def read_long_texts(
    paths: Sequence[Path], tokenizer: Tokenizer, *, num_tokens: int, count: int
) -> list[Tensor]:
    """Return texts as token ids, in order, until `count` of them have `num_tokens`.

    Where fewer have so many, all texts are returned: the measures then end at what they reach.

    Args:
        paths: files; one whose name says that it holds rows gives a text a row, any other is one
            text. Either may be gzipped.
        tokenizer: of the model.
        num_tokens: tokens that a text needs.
        count: texts that are enough.

    Raises:
        UserError: if a file can't be read, or none holds any text.
    """
    documents, shorter = [], []
    for path in paths:
        for text in _texts(path):
            # a token has at least one byte, so a text of fewer bytes can't reach
            if len(text) * 4 < num_tokens and len(text.encode()) < num_tokens:
                shorter.append(text)
                continue
            ids_N = torch.tensor(tokenizer.encode(text), dtype=torch.int64)
            documents.append(ids_N)
            if sum(len(ids) >= num_tokens for ids in documents) >= count:
                return documents
    if not any(len(ids) >= num_tokens for ids in documents):
        documents += [torch.tensor(tokenizer.encode(t), dtype=torch.int64) for t in shorter]
    documents = [ids for ids in documents if len(ids)]
    if not documents:
        raise UserError(f"--text {' '.join(map(str, paths))}: no text is there")
    return documents


def _texts(path: Path) -> Iterator[str]:
    """Yield a file's texts."""
    if not path.is_file():
        raise UserError(f"--text {path}: no such file")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in READERS:
        yield _whole_file(path)
        return
    set_aside, other = SetAside(), 0
    config = SourcesConfig(max_page_bytes=MAX_ROW_BYTES)
    pages = read_path(path, source=path.name, licence="", config=config, set_aside=set_aside)
    for page in pages:
        if page.media in (TEXT, PYTHON):
            yield page.content.decode(errors="replace")
        else:
            other += 1
    if set_aside.counts or other:
        kinds = f"{other:,} rows are no plain text" if other else ""
        warn(f"--text {path}: {', '.join(filter(None, (set_aside.summary(), kinds)))}")


def _whole_file(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.name.endswith(".gz") else data).decode()
    except (*GZIP_ERRORS, OSError, UnicodeDecodeError) as error:
        raise UserError(f"--text {path}: {error}") from None
