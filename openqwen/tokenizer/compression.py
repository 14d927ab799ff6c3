"""How well a vocabulary compresses: bytes a token, by group of documents.

measure_compression(tokenizer, documents)
# [{"group": "zh", "documents": 812, "bytes": 3104220, "bytes_per_token": 3.6, ...}, ...]
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from openqwen.core.documents import Document
from openqwen.tokenizer.tokenizer import Tokenizer

_BATCH = 64  # documents encoded at once


def texts_of(document: Document) -> list[str]:
    """Return what a tokenizer sees of a document: each message's content, or the text."""
    return [m["content"] for m in document.messages] if document.messages else [document.text]


def measure_compression(
    tokenizer: Tokenizer, documents: Iterable[Document]
) -> list[dict[str, Any]]:
    """Count bytes, characters and tokens by document group, and over all ("all", the last row).

    Returns:
        One row a group, sorted by name: group, documents, bytes, characters, tokens,
        bytes_per_token, characters_per_token, digit_share (tokens that are one digit, of all).
    """
    digits = {tokenizer.ranks[str(digit).encode()] for digit in range(10)}
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    stream = iter(documents)
    while batch := list(itertools.islice(stream, _BATCH)):
        texts = [(document.group, texts_of(document)) for document in batch]
        encoded = iter(tokenizer.encode_batch(text for _, parts in texts for text in parts))
        for group, parts in texts:
            tokens = [token for _ in parts for token in next(encoded)]
            counts = [
                1,
                sum(len(text.encode("utf-8", "replace")) for text in parts),
                sum(map(len, parts)),
                len(tokens),
                sum(token in digits for token in tokens),
            ]
            for name in (group, "all"):
                sums[name] = [a + b for a, b in zip(sums[name], counts, strict=True)]
    names = sorted(sums, key=lambda name: (name == "all", name))
    return [_row(name, *sums[name]) for name in names]


def _row(
    group: str, documents: int, size: int, characters: int, tokens: int, digits: int
) -> dict[str, Any]:
    return {
        "group": group,
        "documents": documents,
        "bytes": size,
        "characters": characters,
        "tokens": tokens,
        "bytes_per_token": round(size / max(tokens, 1), 4),
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "digit_share": round(digits / max(tokens, 1), 4),
    }
