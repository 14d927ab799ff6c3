"""Token shards: documents shuffled, merged and cut (§2.4).

    build_shards(config, documents, tokenizer, out, seed=0)
    train = read_shard(out, "train")             # TokenShard: memory-mapped tokens + document index

A shard is `NAME.npy` (one long row of token ids, `<|endoftext|>` after each document) beside
`NAME.parquet` (which document lies where). `token_bytes.npy` gives the bytes each id stands for, so
that losses can be told per byte. Cutting to the context happens in the loader, by position alone.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openqwen.core.documents import Document, count_rows, read_documents
from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, read_json, write_json
from openqwen.core.log import Progress, say
from openqwen.data.training.config import ShardsConfig
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.compression import texts_of
from openqwen.tokenizer.tokenizer import Tokenizer

ENCODE_BATCH = 256
SPLITS = ("train", "validation")

INDEX_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("start", pa.int64()),
        ("tokens", pa.int64()),  # the end-of-document token included
        ("bytes", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Span:
    """Where one document lies in a shard."""

    id: str
    group: str
    start: int
    tokens: int
    bytes: int


@dataclass(frozen=True)
class TokenShard:
    """The tokens of one split and the documents they came from."""

    tokens_N: NDArray[np.unsignedinteger[Any]]
    spans: list[Span]

    def of_group(self, group: str) -> NDArray[np.unsignedinteger[Any]]:
        """Return the tokens of all documents of a group, in order."""
        parts = [self.document(span) for span in self.spans if span.group == group]
        return np.concatenate(parts) if parts else self.tokens_N[:0]

    def document(self, span: Span) -> NDArray[np.unsignedinteger[Any]]:
        """Return one document's tokens, its end token included."""
        return self.tokens_N[span.start : span.start + span.tokens]


def build_shards(
    config: ShardsConfig, documents: Path, tokenizer: Path, out: Path, *, seed: int
) -> dict[str, Any]:
    """Encode a corpus, shuffle its documents with `seed` and write the shards of both splits.

    Args:
        config: the context length, for counting sequences and refusing a corpus below one.
        documents: the documents stage's directory.
        tokenizer: the tokenizer stage's directory.
        out: an empty directory.
        seed: order of the documents.

    Returns:
        Counts for the manifest: tokens, documents and sequences by split and group.

    Raises:
        UserError: if the training split holds less than one sequence.
    """
    encoder = Tokenizer.from_file(tokenizer)
    path = documents / "documents"
    progress = Progress("shards    encode", total=count_rows(path), unit="documents")
    counts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="encoded-", dir=out) as folder:
        encoded = {split: _Encoded(Path(folder) / split, encoder.vocab_size) for split in SPLITS}
        for document, ids in encode_documents(read_documents(path), encoder):
            encoded[document.split].add(document, ids)
            progress.advance()
        progress.close()
        for split in SPLITS:
            counts[split] = _write_split(out, split, encoded[split], seed)
            sequences = max(0, counts[split]["tokens"] - 1) // config.context_length
            counts[split]["sequences"] = sequences
            say(
                f"shards    {split:<11} {counts[split]['documents']:,} documents   "
                f"{counts[split]['tokens']:,} tokens   {sequences:,} sequences of "
                f"{config.context_length:,}   "
                + ", ".join(f"{g} {n:,}" for g, n in counts[split]["tokens_by_group"].items())
            )
    for source, tokens in counts["train"]["tokens_by_source"].items():
        say(f"shards    from        {source:<26}{tokens:>14,} tokens")
    if not counts["train"]["sequences"]:
        raise UserError(
            f"the training documents hold {counts['train']['tokens']:,} tokens, less than one "
            f"sequence of shards.context_length = {config.context_length}: give more documents"
        )
    _save_array(out / "token_bytes.npy", token_bytes(encoder))
    write_json(out / "shards.json", {"context_length": config.context_length, "splits": counts})
    return counts


def encode_documents(
    documents: Iterable[Document], tokenizer: Tokenizer
) -> Iterator[tuple[Document, list[int]]]:
    """Yield each document with its token ids and the end-of-document token.

    Conversations are rendered as ChatML, whose control tokens are control ids; all other text is
    ordinary, whatever it looks like.
    """
    remaining = iter(documents)
    while batch := list(islice(remaining, ENCODE_BATCH)):
        plain = iter(tokenizer.encode_batch([d.text for d in batch if not d.messages]))
        for document in batch:
            messages = document.messages
            ids = list(render(messages, tokenizer).ids) if messages else list(next(plain))
            yield document, [*ids, tokenizer.eos_id]


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int32]:
    """Return the number of bytes each token id stands for; 0 for control tokens."""
    lengths = np.zeros(tokenizer.vocab_size, dtype=np.int32)
    for token, rank in tokenizer.ranks.items():
        lengths[rank] = len(token)
    return lengths


def read_shard(directory: Path, split: str) -> TokenShard:
    """Open one split of a shards directory; tokens stay on disk until they are used."""
    try:
        tokens_N = np.load(directory / f"{split}.npy", mmap_mode="r", allow_pickle=False)
        rows = pq.read_table(directory / f"{split}.parquet", schema=INDEX_SCHEMA).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{directory} holds no readable {split} shard: {error}") from None
    return TokenShard(tokens_N, [Span(**row) for row in rows])


def read_context_length(directory: Path) -> int:
    """Return the context length a shards directory was cut for, in tokens."""
    return int(read_json(directory / "shards.json")["context_length"])


class _Encoded:
    """The tokens of one split on their way to the shard: on disk, in the documents' order."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        self.path = path
        self.dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
        self.file = path.open("wb")
        self.spans: list[Span] = []
        self.copies: list[int] = []
        self.sources: list[str] = []
        self.size = 0

    def add(self, document: Document, ids: list[int]) -> None:
        num_bytes = sum(len(part.encode("utf-8", "replace")) for part in texts_of(document))
        self.spans.append(Span(document.id, document.group, self.size, len(ids), num_bytes))
        self.copies.append(document.epochs if document.split == "train" else 1)
        self.sources.append(document.source)
        self.file.write(np.array(ids, dtype=self.dtype).tobytes())
        self.size += len(ids)

    def tokens(self) -> NDArray[np.unsignedinteger[Any]]:
        """Return all tokens, memory-mapped; nothing can be added afterwards."""
        self.file.close()
        if not self.size:
            return np.empty(0, dtype=self.dtype)
        return np.memmap(self.path, dtype=self.dtype, mode="r")


def _write_split(out: Path, split: str, encoded: _Encoded, seed: int) -> dict[str, Any]:
    """Shuffle one split's documents, write tokens and index, return its counts."""
    tokens_N = encoded.tokens()
    copies_M = np.repeat(np.arange(len(encoded.spans)), encoded.copies)
    order = np.random.default_rng([seed, SPLITS.index(split)]).permutation(len(copies_M))
    rows, start = [], 0
    groups: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    total = sum(encoded.spans[place].tokens for place in copies_M.tolist())
    with atomic_path(out / f"{split}.npy") as temporary, temporary.open("wb") as file:
        header = {"descr": encoded.dtype.str, "fortran_order": False, "shape": (total,)}
        np.lib.format.write_array_header_1_0(file, header)
        for place in copies_M[order].tolist():
            span = encoded.spans[place]
            file.write(tokens_N[span.start : span.start + span.tokens].tobytes())
            rows.append({"id": span.id, "group": span.group, "start": start})
            rows[-1] |= {"tokens": span.tokens, "bytes": span.bytes}
            groups[span.group] += span.tokens
            sources[encoded.sources[place]] += span.tokens
            start += span.tokens
    with atomic_path(out / f"{split}.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), temporary)
    return {
        "documents": len(rows),
        "tokens": total,
        "tokens_by_group": dict(sorted(groups.items())),
        "tokens_by_source": dict(sorted(sources.items())),
    }


def _save_array(path: Path, array: NDArray[Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
