"""Extending a vocabulary (§2.2): given ranks, and then tokens learnt from a corpus.

    base = read_vocabulary(Path("cl100k_base.tiktoken"))
    counts = extend_tokenizer(TokenizerExtendConfig(), base, documents, Path("extended"))

The report starts from cl100k's ranks and adds frequent Chinese characters and words and those of
other languages. Here BPE goes on where the ranks end. All old merges come before all new ones, so a
text is first cut as before, and new tokens only join what the old ones left: under one split
pattern no text gets more tokens than it had.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.core.log import format_bytes, say
from openqwen.core.runtime import count_processors
from openqwen.tokenizer.extend_config import TokenizerExtendConfig
from openqwen.tokenizer.extend_counts import Counted, count_pieces
from openqwen.tokenizer.extend_native import native_extend, open_trainer
from openqwen.tokenizer.extend_pieces import Limits, Merges
from openqwen.tokenizer.extend_report import extension_report
from openqwen.tokenizer.extend_slow import slow_extend
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import Vocabulary, split_by_merges

EXTENSION_FILE = "extension.json"

_SPARE_SHARE = 0.01  # learnt beyond the size asked for, in place of tokens that are taken out
_SPARE_TOKENS = 64
_FACTOR_ONE = 1 << 16  # groups' factors are whole numbers, so that sums don't depend on order


def extend_tokenizer(
    config: TokenizerExtendConfig, base: Vocabulary, documents: Iterable[Document], out: Path
) -> dict[str, Any]:
    """Learn tokens behind those of `base`, check each, and write the vocabulary into `out`.

    Text is split by Qwen's pattern (digits stand alone) whatever pattern the base came with; the
    result has that pattern, Qwen's control tokens and no NFC. `extension.json` tells what was
    added, by script, the checks and the corpus.

    Args:
        config: the settings.
        base: ranks to start from.
        documents: the corpus; read once.
        out: directory for the files; made if missing.

    Returns:
        Counts: documents, bytes, ranks of the base, added, in all.

    Raises:
        UserError: if the base has not fewer ranks than asked for or holes, or there is no text.
    """
    ranks, numbers = _ranks_in_order(base, config)
    counted = count_pieces(
        documents, table_bytes=config.table_bytes, num_threads=config.num_threads
    )
    if not len(counted.pieces.counts):
        raise UserError("there is no text to learn tokens from")
    wanted = config.num_ranks - len(ranks)
    factors = group_factors(config, counted)
    say(f"{'tokenizer':<14}{len(counted.pieces.counts):,} distinct pieces to learn from")
    merges = _learn(config, counted, factors, ranks, wanted)
    tokens = _tokens_of(ranks, merges)
    kept, removed = keep_reachable(ranks, tokens)
    kept = kept[:wanted]
    if len(kept) < wanted:
        say(
            f"{'tokenizer':<14}the text has {len(kept):,} tokens seen {config.min_count} times, "
            f"not the {wanted:,} asked for; more text, or a lower extend.min_count, gives more"
        )
    tokenizer = Tokenizer({token: i for i, token in enumerate([*ranks, *kept])})
    tokenizer.save(out)
    seen = {token: count for token, (_, _, count) in zip(tokens, merges, strict=True)}
    report = extension_report(tokenizer, ranks, kept, removed, seen)
    report |= {"base_numbers_left_out": numbers, "settings": config.model_dump(mode="json")}
    write_json(out / EXTENSION_FILE, report | {"corpus": _corpus(counted, factors)})
    totals = {
        key: sum(facts[key] for facts in counted.groups.values()) for key in ("documents", "bytes")
    }
    say(
        f"{'tokenizer':<14}{len(ranks):,} ranks and {len(kept):,} learnt from "
        f"{totals['documents']:,} documents, {format_bytes(totals['bytes'])}"
    )
    return totals | {
        "base_ranks": len(ranks),
        "added_ranks": len(kept),
        "num_ranks": tokenizer.num_ranks,
        "vocab_size": tokenizer.vocab_size,
    }


def _corpus(counted: Counted, factors: dict[str, int]) -> dict[str, Any]:
    """Return what `extension.json` says of the text."""
    return {
        "groups": {
            name: facts | {"factor": round(factors[name] / _FACTOR_ONE, 4)}
            for name, facts in sorted(counted.groups.items())
        },
        "distinct_pieces": len(counted.pieces.counts),
        "most_halvings": int(counted.pieces.halvings.max()),
    }


def group_factors(config: TokenizerExtendConfig, counted: Counted) -> dict[str, int]:
    """Return what a piece of each group counts for, in 65,536ths; the largest group's is one.

    A group with the share p of all bytes gets the weight p ** balance, times its own weight: the
    balancing of Conneau et al. 2020 (XLM-R, there with exponent 0.3).
    """
    unknown = sorted(set(config.weights) - set(counted.groups))
    if unknown:
        have = ", ".join(sorted(counted.groups))
        raise UserError(f"extend.weights names {unknown[0]!r}; the text has {have}")
    sizes = {name: max(facts["bytes"], 1) for name, facts in counted.groups.items()}
    largest = max(sizes.values())
    return {
        name: round(
            _FACTOR_ONE * (size / largest) ** (config.balance - 1) * config.weights.get(name, 1.0)
        )
        for name, size in sizes.items()
    }


def keep_reachable(base: list[bytes], tokens: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the tokens that re-encode to themselves, in order, and those that don't.

    Encoding a token's bytes must join them to that token alone; where they are whole characters,
    encoding its text must, splitting included. A token taken out may have been another's step, so
    the check is made again until all pass.
    """
    removed: list[bytes] = []
    while True:
        ranks = {token: i for i, token in enumerate([*base, *tokens])}
        tokenizer = Tokenizer(ranks)
        bad = {token for token in tokens if not _encodes_to_itself(tokenizer, token)}
        if not bad:
            return tokens, removed
        removed += [token for token in tokens if token in bad]
        tokens = [token for token in tokens if token not in bad]


def _encodes_to_itself(tokenizer: Tokenizer, token: bytes) -> bool:
    if len(split_by_merges(token, tokenizer.ranks)) != 2:
        return False
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return True
    return tokenizer.encode(text) == [tokenizer.ranks[token]]


def _ranks_in_order(base: Vocabulary, config: TokenizerExtendConfig) -> tuple[list[bytes], int]:
    """Return the base's tokens by rank and how many numbers were left out of them."""
    ranks = sorted(base.ranks, key=base.ranks.__getitem__)
    last = base.ranks[ranks[-1]]
    if last != len(ranks) - 1:
        raise UserError(
            f"the base's {len(ranks):,} tokens have ids up to {last:,}: ids with holes can't be "
            "extended"
        )
    numbers = {t for t in ranks if config.drop_numbers and len(t) > 1 and t.isdigit()}
    ranks = [token for token in ranks if token not in numbers]
    if config.num_ranks <= len(ranks):
        raise UserError(
            f"extend.num_ranks = {config.num_ranks:,} is not above the base's {len(ranks):,} "
            "ranks; there is nothing to add"
        )
    return ranks, len(numbers)


def _learn(
    config: TokenizerExtendConfig,
    counted: Counted,
    factors: dict[str, int],
    ranks: list[bytes],
    wanted: int,
) -> Merges:
    """Learn somewhat more tokens than wanted, in C++ where there is a compiler."""
    pieces = counted.pieces
    by_group = np.array([factors[name] for name in counted.names], np.int64)
    weights: npt.NDArray[np.int64] = (pieces.counts << pieces.halvings) * by_group[pieces.groups]
    limits = Limits(
        config.min_count,
        config.max_token_characters,
        config.max_ungapped_characters,
        config.max_han_characters,
    )
    ample = wanted + int(wanted * _SPARE_SHARE) + _SPARE_TOKENS
    library, _ = open_trainer()
    if library is None:
        return slow_extend(pieces, weights, ranks, ample, limits)
    threads = config.num_threads or count_processors()
    return native_extend(library, pieces, weights, ranks, ample, limits, threads=threads)


def _tokens_of(ranks: list[bytes], merges: Merges) -> list[bytes]:
    tokens = list(ranks)
    for left, right, _ in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens[len(ranks) :]
