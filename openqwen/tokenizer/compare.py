"""Figure 3: tokens over those of XLM-R on the same text, by language; lower is better.

    table = compare_tokenizers([open_counter("xlm-r"), open_counter("qwen")], {"zh": texts})
    table["languages"]["zh"]["tokenizers"]["qwen"]["ratio"]

Texts are measured whole, one by one, so that an interval can be drawn over documents. Digits are
told apart: a vocabulary with single digits pays for numbers, not for words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openqwen.core.errors import UserError
from openqwen.core.log import say
from openqwen.tokenizer.peers import TokenCounter

RESAMPLES = 2_000  # of the documents, for the interval
_BATCH_CHARACTERS = 1_000_000

Counts = npt.NDArray[np.int64]  # a row a document: tokens, tokens with a digit


def compare_tokenizers(
    counters: Sequence[TokenCounter], texts: Mapping[str, Sequence[str]], *, seed: int = 0
) -> dict[str, Any]:
    """Count the tokens of every text by every tokenizer; the first is the baseline.

    Args:
        counters: two or more tokenizers of different names.
        texts: language (or "code") -> documents.
        seed: of the resampling behind the intervals.

    Returns:
        "baseline", "tokenizers" (name -> about, tokens in the vocabulary) and "languages": each
        with documents, characters, bytes and, by tokenizer, tokens, ratio to the baseline with its
        95 % interval (percentiles over resampled documents; None for one document), tokens with
        digits, the ratio of the tokens without, bytes and characters a token.

    Raises:
        UserError: if names repeat, or there is no text.
    """
    names = [counter.name for counter in counters]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two tokenizers are called {doubled!r}; rename one of the files")
    given = {language: [t for t in some if t] for language, some in texts.items()}
    given = {language: some for language, some in given.items() if some}
    if not given:
        raise UserError("there is no text to compare tokenizers on")
    languages: dict[str, Any] = {}
    for language, documents in given.items():
        counts = {counter.name: _count(counter, documents) for counter in counters}
        languages[language] = _language_row(documents, counts, names[0], seed)
        say(_line(language, languages[language]))
    return {
        "baseline": names[0],
        "tokenizers": {
            counter.name: {"about": counter.about, "tokens": counter.num_tokens}
            for counter in counters
        },
        "languages": languages,
    }


def _count(counter: TokenCounter, documents: Sequence[str]) -> Counts:
    rows: list[tuple[int, int]] = []
    batch: list[str] = []
    size = 0
    for text in documents:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            rows += counter.count(batch)
            batch, size = [], 0
    rows += counter.count(batch)
    return np.array(rows, np.int64)


def _language_row(
    documents: Sequence[str], counts: Mapping[str, Counts], baseline: str, seed: int
) -> dict[str, Any]:
    size = sum(len(text.encode("utf-8", "replace")) for text in documents)
    characters = sum(map(len, documents))
    base = counts[baseline]
    found = {}
    for name, rows in counts.items():
        tokens, with_digits = (int(total) for total in rows.sum(axis=0))
        plain, plain_base = tokens - with_digits, int(base[:, 0].sum() - base[:, 1].sum())
        found[name] = {
            "tokens": tokens,
            "ratio": round(tokens / max(int(base[:, 0].sum()), 1), 4),
            "interval": ratio_interval(rows[:, 0], base[:, 0], seed=seed),
            "digit_tokens": with_digits,
            "ratio_without_digits": round(plain / max(plain_base, 1), 4),
            "bytes_per_token": round(size / max(tokens, 1), 4),
            "characters_per_token": round(characters / max(tokens, 1), 4),
        }
    return {
        "documents": len(documents),
        "characters": characters,
        "bytes": size,
        "tokenizers": found,
    }


def ratio_interval(
    tokens: npt.NDArray[np.int64], base: npt.NDArray[np.int64], *, seed: int
) -> list[float] | None:
    """Return the 95 % interval of sum(tokens) / sum(base), documents drawn with replacement.

    None for a single document, which says nothing of others.
    """
    n = len(tokens)
    if n < 2:
        return None
    draw = np.random.default_rng(seed)
    ratios = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        chosen = draw.integers(0, n, n)
        ratios[i] = tokens[chosen].sum() / max(base[chosen].sum(), 1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def _line(language: str, row: Mapping[str, Any]) -> str:
    parts = "   ".join(f"{name} {facts['ratio']:.2f}" for name, facts in row["tokenizers"].items())
    return (
        f"{'tokenizer':<14}{language:<6}{row['documents']:,} documents, "
        f"{row['characters']:,} characters   {parts}"
    )
