"""Learning a byte-level BPE vocabulary from documents (§2.2).

    counts = train_tokenizer(TokenizerConfig(num_ranks=8_192), Path("docs.parquet"), Path("out"))

Writes the vocabulary files and `compression.json`. The same documents and settings give the same
bytes, on any number of threads.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rustbpe
from numpy.typing import NDArray

from openqwen.core.documents import Document, read_documents
from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.core.log import Progress, say
from openqwen.tokenizer.compression import measure_compression, texts_of
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.tokenizer.text import without_surrogates
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import QWEN_PATTERN, list_merges

MAX_TOKEN_CHARACTERS = 128  # code: the longest token of the published vocabulary
MEASURED_BYTES = 32_000_000  # of text, at most, for each table of compression.json
COMPRESSION_FILE = "compression.json"

_BUFFER_TEXTS = 256  # the trainer holds this many texts at once
_PIECE_CHARACTERS = 4_096  # what an even sample takes or leaves
_CHECKED_TEXTS = 200  # make the round trip after training
_RUN_KINDS = (r"[^\W\d_]", r"\s", r"(?:[^\w\s]|_)")  # letters, spaces, other signs
_LONG_RUN = re.compile("|".join(f"{kind}{{{MAX_TOKEN_CHARACTERS}}}" for kind in _RUN_KINDS))

Keep = Callable[[Document], bool]


def train_ranks(texts: Iterator[str], num_ranks: int) -> dict[bytes, int]:
    """Learn `num_ranks` tokens: the 256 bytes, then again and again the most frequent pair.

    Text is split by Qwen's pattern first (digits stand alone) and no token crosses a split. Runs of
    letters, spaces or other signs are cut every 128 characters, so that one page of dashes doesn't
    spend the vocabulary on itself.

    Returns:
        Token bytes -> rank, from 0 in the order of merging; fewer than `num_ranks` where the text
        has no more pairs.
    """
    # rustbpe, not Hugging Face's trainer: on 15 MB of English and Chinese it took 5 s for 8,192 and
    # for 32,000 ranks where the other took 17 and 20 on the same two threads. Both gave equal ranks
    # in every process, with any hash seed and any number of threads (ties go to the lower pair).
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(
        itertools.chain.from_iterable(map(_cut_long_runs, texts)),
        num_ranks,
        buffer_size=_BUFFER_TEXTS,
        pattern=QWEN_PATTERN,
    )
    return {bytes(token): int(rank) for token, rank in trainer.get_mergeable_ranks()}


def train_tokenizer(
    config: TokenizerConfig, documents: Path, out: Path, *, keep: Keep | None = None
) -> dict[str, Any]:
    """Train on a Parquet file of documents, check the result and save it into `out`.

    A document counts as often as its `epochs` say; of a conversation the messages' contents count.
    Where the text is more than `max_train_bytes`, an even sample of it is taken.
    `compression.json` tells bytes a token by group: of documents trained on, and of those held out.

    Args:
        config: the settings.
        documents: the mixture.
        out: directory for the files; made if missing.
        keep: says which documents may be seen; None for all. Validation text must be left out here.

    Returns:
        Counts for the manifest: documents, bytes and ranks.

    Raises:
        UserError: if there is no text, or the file is not one of documents.
    """
    counts = _count(documents, keep)
    share = min(1.0, config.max_train_bytes / max(counts["bytes"], 1))
    trained = {"train_texts": 0, "train_bytes": 0}

    def texts() -> Iterator[str]:
        total = min(counts["bytes"], config.max_train_bytes)
        progress = Progress("tokenizer read", total=total, unit="bytes")
        for text in training_texts(documents, keep, share):
            left = config.max_train_bytes - trained["train_bytes"]
            if not left:
                break
            data = text.encode("utf-8", "replace")[:left]
            trained["train_texts"] += 1
            trained["train_bytes"] += len(data)
            progress.advance(len(data))
            yield data.decode("utf-8", "ignore")
        progress.total = progress.done
        progress.close()

    if not counts["bytes"]:
        raise UserError(f"{documents} holds no text to learn a vocabulary from")
    tokenizer = Tokenizer(train_ranks(texts(), config.num_ranks))
    if tokenizer.num_ranks < config.num_ranks:
        say(
            f"tokenizer     the text has pairs for {tokenizer.num_ranks:,} ranks only, not for "
            f"tokenizer.num_ranks = {config.num_ranks:,}; the vocabulary is that much smaller"
        )
    _check(tokenizer, itertools.islice(training_texts(documents, keep, share), _CHECKED_TEXTS))
    tokenizer.save(out)
    write_json(out / COMPRESSION_FILE, _compression(tokenizer, documents, keep, counts))
    return counts | trained | {"num_ranks": tokenizer.num_ranks, "vocab_size": tokenizer.vocab_size}


def _count(documents: Path, keep: Keep | None) -> dict[str, int]:
    """Count documents and their bytes (copies included), those held out apart."""
    counts = {"documents": 0, "bytes": 0, "held_out_documents": 0, "held_out_bytes": 0}
    for document in read_documents(documents):
        seen = keep is None or keep(document)
        size = _size(document)
        counts["documents" if seen else "held_out_documents"] += 1
        counts["bytes" if seen else "held_out_bytes"] += size * (document.epochs if seen else 1)
    return counts


def training_texts(documents: Path, keep: Keep | None, share: float) -> Iterator[str]:
    """Yield the texts to learn from: of the kept documents, copies apart, all or an even sample.

    A sample is of pieces of 4,096 characters. What is taken follows `share` of the bytes passed so
    far, so every part of the mixture keeps its weight; a threshold drawn from a piece's name keeps
    a regular order from favouring one kind.

    Args:
        documents: a Parquet file of documents.
        keep: says which documents count; None for all.
        share: of the bytes, from 0 to 1.
    """
    seen = taken = 0
    for document in read_documents(documents):
        if keep is not None and not keep(document):
            continue
        for copy, text in itertools.product(range(document.epochs), texts_of(document)):
            if share == 1:
                yield text
                continue
            for start in range(0, len(text), _PIECE_CHARACTERS):
                piece = text[start : start + _PIECE_CHARACTERS]
                size = len(piece.encode("utf-8", "replace"))
                seen += size
                if share * seen - taken >= size * _place(f"{document.id} {copy} {start}"):
                    taken += size
                    yield piece


def _size(document: Document) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts_of(document))


def _place(name: str) -> float:
    """Return a number in [0, 1) that looks random and depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def _cut_long_runs(text: str) -> Iterable[str]:
    text = without_surrogates(text)
    if not _has_long_run(text):
        return (text,)
    cuts = [0, *(match.end() for match in _LONG_RUN.finditer(text)), len(text)]
    return (text[a:b] for a, b in itertools.pairwise(cuts))


def _has_long_run(text: str) -> bool:
    """Return whether `_LONG_RUN` is found; ten times as fast as looking for it."""
    kinds = _kinds_of_characters()[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
    changes = np.flatnonzero(kinds[1:] != kinds[:-1])
    bounds = np.concatenate(([-1], changes, [len(kinds) - 1]))
    runs = np.flatnonzero(np.diff(bounds) >= MAX_TOKEN_CHARACTERS)
    return bool(kinds[bounds[runs + 1]].any())


@functools.cache
def _kinds_of_characters() -> NDArray[np.uint8]:
    """Return what each code point is to `_LONG_RUN`; 0 for what stands in no run."""
    every = "".join(map(chr, range(0x110000)))
    kinds = np.zeros(len(every), np.uint8)
    for kind, pattern in enumerate(_RUN_KINDS, 1):
        for match in re.finditer(f"{pattern}+", every):
            kinds[slice(*match.span())] = kind
    return kinds


def _check(tokenizer: Tokenizer, texts: Iterator[str]) -> None:
    """Fail unless each token can be reached from its bytes and the texts survive a round trip."""
    merges = len(list_merges(tokenizer.ranks))
    assert merges == tokenizer.num_ranks - 256, f"{merges} merges make {tokenizer.num_ranks} ranks"
    for text in texts:
        whole = without_surrogates(text)
        assert tokenizer.decode(tokenizer.encode(whole)) == whole, f"{whole[:80]!r} changed"


def _compression(
    tokenizer: Tokenizer, documents: Path, keep: Keep | None, counts: dict[str, int]
) -> dict[str, Any]:
    """Return the tables of compression.json, each over at most MEASURED_BYTES, evenly sampled."""

    def sample(size: int, held_out: bool) -> Iterator[Document]:
        for document in read_documents(documents):
            chosen = _place(document.id) < MEASURED_BYTES / max(size, 1)
            if chosen and (keep is not None and not keep(document)) == held_out:
                yield document

    return {
        "trained_on": measure_compression(tokenizer, sample(counts["bytes"], held_out=False)),
        "held_out": measure_compression(tokenizer, sample(counts["held_out_bytes"], held_out=True)),
    }
