"""Token shards: documents shuffled, merged and cut (§2.4).

    build_shards(config, documents, tokenizer, out, seed=0)
    train = read_shard(out, "train")             # TokenShard: memory-mapped tokens + document index

A shard is `NAME.npy` (one long row of token ids, `<|endoftext|>` after each document) beside
`NAME.parquet` (which document lies where). `token_bytes.npy` gives the bytes each id stands for, so
that losses can be told per byte. Cutting to the context happens in the loader, by position alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openqwen.core.documents import Document, read_documents
from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, read_json, write_json
from openqwen.core.log import Progress, say
from openqwen.data.shards_config import ShardsConfig
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
    encoded: dict[str, list[tuple[Span, list[int]]]] = defaultdict(list)
    path = documents / "documents.parquet"
    total = pq.ParquetFile(path).metadata.num_rows
    progress = Progress("shards    encode", total=total, unit="documents")
    for document, ids in encode_documents(read_documents(path), encoder):
        num_bytes = sum(len(part.encode("utf-8", "replace")) for part in texts_of(document))
        for _ in range(document.epochs if document.split == "train" else 1):
            span = Span(document.id, document.group, 0, len(ids), num_bytes)
            encoded[document.split].append((span, ids))
        progress.advance()
    progress.close()

    counts: dict[str, Any] = {}
    for split in SPLITS:
        counts[split] = _write_split(out, split, encoded[split], encoder.vocab_size, seed)
        sequences = max(0, counts[split]["tokens"] - 1) // config.context_length
        counts[split]["sequences"] = sequences
        say(
            f"shards    {split:<11} {counts[split]['documents']:,} documents   "
            f"{counts[split]['tokens']:,} tokens   {sequences:,} sequences of "
            f"{config.context_length:,}   "
            + ", ".join(f"{g} {n:,}" for g, n in counts[split]["tokens_by_group"].items())
        )
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


def _write_split(
    out: Path, split: str, encoded: list[tuple[Span, list[int]]], vocab_size: int, seed: int
) -> dict[str, Any]:
    """Shuffle one split's documents, write tokens and index, return its counts."""
    order = np.random.default_rng([seed, SPLITS.index(split)]).permutation(len(encoded))
    dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
    tokens_N = np.empty(sum(span.tokens for span, _ in encoded), dtype=dtype)
    rows, start = [], 0
    groups: Counter[str] = Counter()
    for position in order:
        span, ids = encoded[position]
        tokens_N[start : start + span.tokens] = ids
        rows.append({"id": span.id, "group": span.group, "start": start})
        rows[-1] |= {"tokens": span.tokens, "bytes": span.bytes}
        groups[span.group] += span.tokens
        start += span.tokens
    _save_array(out / f"{split}.npy", tokens_N)
    with atomic_path(out / f"{split}.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), temporary)
    by_group = dict(sorted(groups.items()))
    return {"documents": len(rows), "tokens": len(tokens_N), "tokens_by_group": by_group}


def _save_array(path: Path, array: NDArray[Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
