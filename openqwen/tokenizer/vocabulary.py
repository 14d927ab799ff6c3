"""A vocabulary as data, and the merges that its ranks imply.

In a tiktoken vocabulary the rank of a token is its id and its merge priority. Two parts merge when
their joined bytes are a token; the lowest rank goes first. So each token longer than a byte has one
last merge, which other tools want spelled out.
"""

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from openqwen.core.errors import UserError
from openqwen.tokenizer.merges import which_happen

# code: the published Qwen pattern; digits stand alone (§2.2)
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# code: Llama 3's, which cl100k's resembles; up to three digits stay together
LLAMA3_PATTERN = QWEN_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


@dataclass(frozen=True)
class Vocabulary:
    """All that decides how text becomes ids."""

    ranks: Mapping[bytes, int]
    controls: Mapping[str, int]
    pattern: str = QWEN_PATTERN
    nfc: bool = False

    def check(self, where: str) -> None:
        """Raise UserError (opening with `where`) unless text can be encoded without surprises."""
        missing = [i for i in range(256) if bytes([i]) not in self.ranks]
        if missing:
            raise UserError(
                f"{where}: byte 0x{missing[0]:02x} is no token ({len(missing)} of 256 missing), "
                "so this is no byte-level vocabulary"
            )
        used = dict.fromkeys(self.ranks.values())
        for name, token_id in self.controls.items():
            if token_id in used:
                raise UserError(f"{where}: id {token_id} of {name} belongs to another token too")
            used[token_id] = None


def split_by_merges(
    token: bytes, ranks: Mapping[bytes, int], *, whole: bool = False
) -> list[bytes]:
    """Return the two parts whose merge makes `token`; another number where no merge can make it.

    With `whole` that merge is done too, and later ones: one part where merges make the token.
    """
    none = sys.maxsize if whole else ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 1:
        joined = [ranks.get(a + b, none) for a, b in itertools.pairwise(parts)]
        best = min(joined)
        if best >= none:
            break
        i = joined.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def list_merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the merge behind every token longer than a byte, in the order of ranks.

    A token that no merge can make has none here; only a piece of text equal to it becomes it.
    """
    ordered = sorted(ranks, key=ranks.__getitem__)
    place = {token: i for i, token in enumerate(ordered)}
    rows = [
        (place[token[:cut]], place[token[cut:]], made)
        for made, token in enumerate(ordered)
        for cut in range(1, len(token))
        if token[:cut] in place and token[cut:] in place
    ]
    lengths = np.fromiter(map(len, ordered), np.int64, len(ordered))
    left_M, right_M, made_M = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    happens_M = which_happen(left_M, right_M, made_M, lengths)
    made = set(made_M[happens_M].tolist())
    left_out = [t for i, t in enumerate(ordered) if i not in made and len(t) > 1]
    if any(len(split_by_merges(token, ranks, whole=True)) == 1 for token in left_out):
        # ranks against the order of making: no table of merges is sure, one by one is
        splits = (split_by_merges(token, ranks) for token in ordered if len(token) > 1)
        return [(split[0], split[1]) for split in splits if len(split) == 2]
    return [(ordered[rows[i][0]], ordered[rows[i][1]]) for i in np.flatnonzero(happens_M)]
