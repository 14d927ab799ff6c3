"""What `extend.cpp` does, in Python: for machines without a compiler, and to test it against.

counter = SlowCounter(limit_bytes=10**8)
counter.add(0, "some text".encode(), 1)
merges = slow_extend(counter.finish(), weights, base, 100, limits)
"""

import heapq
import itertools
from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt

from openqwen.core.errors import UserError
from openqwen.tokenizer.extend_pieces import (
    Limits,
    Merges,
    Pieces,
    gapless_scripts,
    split_pieces,
)

ENTRY_BYTES = 200  # of a dictionary's entry beside the piece's bytes

Pair = tuple[int, int]


class SlowCounter:
    """Counts of distinct pieces of text by group."""

    def __init__(self, limit_bytes: int) -> None:
        """Start with an empty table of at most `limit_bytes`."""
        self._limit = limit_bytes
        self._size = 0
        self._counts: Counter[tuple[int, bytes]] = Counter()

    def add(self, group: int, text: bytes, count: int) -> None:
        """Count the pieces of one text in valid UTF-8, `count` times.

        Raises:
            UserError: if the table is full.
        """
        for piece, times in Counter(split_pieces(text.decode())).items():
            if (group, piece) not in self._counts:
                self._size += len(piece) + ENTRY_BYTES
            self._counts[group, piece] += times * count
        if self._size > self._limit:
            raise UserError(
                "this is more text than the trainer in Python holds within extend.table_bytes = "
                f"{self._limit:,}; with a C++ compiler (g++, ninja) any amount goes"
            )

    def finish(self) -> Pieces:
        """Return what was counted."""
        pieces = [piece for _, piece in self._counts]
        n = len(pieces)
        return Pieces(
            data=np.frombuffer(b"".join(pieces), np.uint8),
            starts=np.cumsum([0, *map(len, pieces)]).astype(np.uint64),
            groups=np.fromiter((group for group, _ in self._counts), np.uint32, n),
            counts=np.fromiter(self._counts.values(), np.int64, n),
            halvings=np.zeros(n, np.uint8),
        )


def slow_extend(
    pieces: Pieces,
    weights: npt.NDArray[np.int64],
    base: list[bytes],
    wanted: int,
    limits: Limits,
) -> Merges:
    """Learn up to `wanted` tokens behind the base: again and again the heaviest pair.

    Pieces are first encoded by the base. A pair whose bytes are a token already becomes that token
    at once, as it will in encoding. Ties go to the lower left, then the lower right id.

    Args:
        pieces: the text.
        weights: of each piece: its count times the factor of its group.
        base: bytes of the tokens that are there, by rank.
        wanted: most tokens to learn.
        limits: on each token.

    Returns:
        Both halves of each token and how often the pair was seen.
    """
    learner = _Learner(pieces, weights, base)
    merges: Merges = []
    while len(merges) < wanted and (top := learner.pop()) is not None:
        pair, made = top
        if made is None:
            count, whole = learner.seen[pair][1], learner.bytes_of(pair)
            if count < limits.min_count or not _fits(whole, limits):
                continue
            merges.append((*pair, count))
            made = learner.learn(whole)
        learner.merge(pair, made)
    return merges


class _Learner:
    """Words as lists of ids, pairs with weight and count, and a queue of pairs."""

    def __init__(self, pieces: Pieces, weights: npt.NDArray[np.int64], base: list[bytes]) -> None:
        self.tokens = list(base)
        self.ids = {token: i for i, token in enumerate(base)}
        counts = pieces.times(weights).tolist()
        self.words = [self.encode(piece) for piece in pieces]
        self.amounts = list(zip(weights.tolist(), counts, strict=True))
        self.seen: dict[Pair, list[int]] = defaultdict(lambda: [0, 0])  # weight, count
        self.where: dict[Pair, set[int]] = defaultdict(set)
        for at in range(len(self.words)):
            self._count(at, 1)
        self.queue: list[tuple[int, int, int, int]] = []
        for pair in self.seen:
            self.wait(pair)

    def encode(self, piece: bytes) -> list[int]:
        if piece in self.ids:
            return [self.ids[piece]]
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while len(parts) > 1:
            ranks = [self.ids.get(a + b, len(self.tokens)) for a, b in itertools.pairwise(parts)]
            best = min(ranks)
            if best == len(self.tokens):
                break
            i = ranks.index(best)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self.ids[part] for part in parts]

    def bytes_of(self, pair: Pair) -> bytes:
        return self.tokens[pair[0]] + self.tokens[pair[1]]

    def learn(self, token: bytes) -> int:
        self.ids[token] = len(self.tokens)
        self.tokens.append(token)
        return self.ids[token]

    def _count(self, at: int, sign: int) -> None:
        weight, count = self.amounts[at]
        for pair in itertools.pairwise(self.words[at]):
            self.seen[pair][0] += sign * weight
            self.seen[pair][1] += sign * count
            (self.where[pair].add if sign > 0 else self.where[pair].discard)(at)

    def _key(self, pair: Pair) -> tuple[int, int, int, int]:
        made = self.ids.get(self.bytes_of(pair))
        return (1, -self.seen[pair][0], *pair) if made is None else (0, made, *pair)

    def wait(self, pair: Pair) -> None:
        if self.seen[pair][1] > 0:
            heapq.heappush(self.queue, self._key(pair))

    def pop(self) -> tuple[Pair, int | None] | None:
        """Return the first pair and the token that its bytes are already, or None at the end."""
        while self.queue:
            key = heapq.heappop(self.queue)
            pair = (key[2], key[3])
            if self.seen[pair][1] <= 0:
                continue
            now = self._key(pair)
            if now == key:
                return pair, None if key[0] else key[1]
            if now > key:  # it lost occurrences; what gained some waits already
                heapq.heappush(self.queue, now)
        return None

    def merge(self, pair: Pair, made: int) -> None:
        touched: set[Pair] = set()
        for at in sorted(self.where[pair]):
            old = self.words[at]
            self._count(at, -1)
            new, i = [], 0
            while i < len(old):
                both = i + 1 < len(old) and (old[i], old[i + 1]) == pair
                new.append(made if both else old[i])
                i += 2 if both else 1
            self.words[at] = new
            self._count(at, 1)
            touched |= {p for p in itertools.pairwise(new) if made in p}
        for changed in touched:
            self.wait(changed)


def _fits(token: bytes, limits: Limits) -> bool:
    """Return whether a token is short enough; a cut-off character counts where it begins."""
    text = token.lstrip(bytes(range(0x80, 0xC0))).decode("utf-8", "replace")
    scripts = [int(gapless_scripts()[ord(c)]) for c in text]
    ungapped = len(scripts) - scripts.count(0)
    return (
        len(text) <= limits.max_characters
        and ungapped <= limits.max_ungapped
        and scripts.count(2) <= limits.max_han
    )
