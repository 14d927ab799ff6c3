"""Who holds which block of KV memory: tables, sharing, eviction, growth; no torch.

    blocks = Blocks([Group(window=None, block_bytes=393_216)], block_tokens=32, limit_bytes=10**9)
    blocks.adopt(sequence)                          # begin behind what is computed already
    if blocks.reserve(sequence, len(sequence.tokens)): ...
    blocks.advance(sequence, count)                 # remember full blocks, leave the window's rear
    blocks.release(sequence)

Layers of equal window form a group with a pool of its own. A full block is shared by sequences
whose tokens up to its end, and whose α, are equal; nobody writes into it again. Blocks that nobody
holds are remembered until the memory is needed, the longest unused first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from openqwen.infer.sequence import Prefix
from openqwen.infer.sequence import Sequence as Reply

SCRATCH = 0  # a block of every pool that belongs to nobody: padding is written there
GROWTH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Group:
    """Layers of equal window.

    Attributes:
        window: tokens that a query sees, itself included; None for all.
        block_bytes: of one block, all the group's layers together.
    """

    window: int | None
    block_bytes: int

    def low(self, position: int) -> int:
        """Return the first position that a query at `position` sees."""
        return 0 if self.window is None else max(0, position + 1 - self.window)


class Pool:
    """One group's blocks: each is held by sequences, remembered, or free."""

    def __init__(self, group: Group) -> None:
        """Begin with the scratch block alone."""
        self.group = group
        self.num_holders = [1]
        self.free: list[int] = []
        self.remembered: OrderedDict[int, Prefix] = OrderedDict()
        self.prefixes: dict[int, Prefix] = {}

    @property
    def capacity(self) -> int:
        """Return how many blocks there are, the scratch block among them."""
        return len(self.num_holders)

    @property
    def num_held(self) -> int:
        """Return how many blocks sequences hold."""
        return self.capacity - 1 - len(self.free) - len(self.remembered)

    @property
    def num_bytes(self) -> int:
        """Return the bytes of all its blocks."""
        return self.capacity * self.group.block_bytes

    def grow(self, count: int) -> None:
        """Add `count` free blocks."""
        begin = self.capacity
        self.num_holders += [0] * count
        self.free += range(begin + count - 1, begin - 1, -1)

    def hold(self, block: int) -> None:
        """Count one more holder."""
        self.remembered.pop(block, None)
        self.num_holders[block] += 1

    def drop(self, block: int) -> None:
        """Count one holder less; the last one leaves it remembered, or free."""
        assert self.num_holders[block] > 0, f"block {block} is dropped once too often"
        self.num_holders[block] -= 1
        if self.num_holders[block] == 0:
            prefix = self.prefixes.get(block)
            if prefix is None:
                self.free.append(block)
            else:
                self.remembered[block] = prefix


class Blocks:
    """All pools within one limit of bytes."""

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        block_tokens: int,
        limit_bytes: int,
        share: bool = True,
        share_step: int = 1,
    ) -> None:
        """Begin empty; memory grows as it is needed.

        Args:
            groups: what a sequence holds blocks of.
            block_tokens: tokens a block.
            limit_bytes: bound on all pools together.
            share: whether computed blocks are remembered and shared.
            share_step: share multiples of this many tokens only.
        """
        self.block_tokens, self.limit_bytes = block_tokens, limit_bytes
        self.share, self.share_step = share, share_step
        self.pools = [Pool(group) for group in groups]
        self.is_laid_out = False
        self._prefixes: dict[tuple[int, tuple[int, ...]], Prefix] = {}
        self._next_number = 0

    def fits_alone(self, num_tokens: int, chunk: int) -> bool:
        """Return whether a sequence of so many tokens, fed by chunks, fits with no other there."""
        return self.bytes_alone(num_tokens, chunk) <= self.limit_bytes

    def most_tokens(self, chunk: int) -> int:
        """Return the longest sequence that fits with no other there, about."""
        low, high = 0, 1
        while high < 2**40 and self.fits_alone(high, chunk):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.fits_alone(middle, chunk) else (low, middle)
        return low

    def adopt(self, sequence: Reply) -> None:
        """Let a sequence that holds nothing begin behind the longest prefix that is remembered."""
        assert not sequence.tables, "a sequence adopts a prefix before it holds anything"
        found = self._find(sequence) if self.share else []
        count = self._usable(found)
        sequence.prefixes = found[:count]
        sequence.num_computed = sequence.num_shared = count * self.block_tokens
        sequence.num_begun += 1
        for index, pool in enumerate(self.pools):
            low = pool.group.low(sequence.num_computed) // self.block_tokens
            table = [SCRATCH] * min(low, count)
            table += [prefix.blocks[index] for prefix in found[low:count]]
            for block in table[low:]:
                pool.hold(block)
            sequence.tables.append(table)

    def reserve(self, sequence: Reply, end: int) -> bool:
        """Give a sequence the blocks for its tokens up to `end`; all of them, or none and False."""
        if all(end <= len(table) * self.block_tokens for table in sequence.tables):
            return True
        num_blocks = -(-end // self.block_tokens)
        needed = [max(0, num_blocks - len(table)) for table in sequence.tables]
        if not self._can_take(needed):
            return False
        lacking = self._lacking(needed)
        spare = self._room_bytes() - self._bytes_of(lacking)
        for pool, count in zip(self.pools, lacking, strict=True):
            if count > 0:
                extra = min(max(0, self._step(pool) - count), spare // pool.group.block_bytes)
                pool.grow(count + extra)
                spare -= extra * pool.group.block_bytes
        for pool, table, count in zip(self.pools, sequence.tables, needed, strict=True):
            table += [self._take(pool) for _ in range(count)]
        return True

    def could_reserve(self, sequence: Reply, end: int, chunk: int) -> bool:
        """Return whether there is room for a sequence's tokens up to `end`, fed by chunks."""
        needed = []
        for pool, table in zip(self.pools, sequence.tables, strict=True):
            held = sum(block != SCRATCH for block in table)
            needed.append(max(0, self._most_blocks(pool.group, end, chunk) - held))
        return self._can_take(needed)

    def advance(self, sequence: Reply, count: int, *, num_shareable: int | None = None) -> None:
        """Count tokens as computed: remember full blocks, let go what no window reaches any more.

        `num_shareable` bounds which tokens may be shared; None for all.
        """
        before = sequence.num_computed // self.block_tokens
        sequence.num_computed += count
        now = sequence.num_computed // self.block_tokens
        if now == before:
            return
        if self.share:
            bound = now if num_shareable is None else min(now, num_shareable // self.block_tokens)
            for place in range(len(sequence.prefixes), bound):
                self._remember(sequence, place)
        for pool, table in zip(self.pools, sequence.tables, strict=True):
            if pool.group.window is None:
                continue
            low = pool.group.low(sequence.num_computed) // self.block_tokens
            for place in range(low - 1, -1, -1):
                if table[place] == SCRATCH:
                    break
                pool.drop(table[place])
                table[place] = SCRATCH

    def release(self, sequence: Reply) -> None:
        """Take all blocks from a sequence, as if nothing of it had been computed."""
        for pool, table in zip(self.pools, sequence.tables, strict=bool(sequence.tables)):
            for block in reversed(table):  # so that the end is forgotten before the beginning
                if block != SCRATCH:
                    pool.drop(block)
        sequence.tables, sequence.prefixes = [], []
        sequence.num_computed = 0

    def forget(self) -> None:
        """Share nothing of what has been computed until now."""
        for prefix in list(self._prefixes.values()):
            for index, pool in enumerate(self.pools):
                self._part(prefix, index, pool)
        for pool in self.pools:
            pool.free += pool.remembered
            pool.remembered.clear()

    def start_over(self, chunk: int | None = None) -> None:
        """Return all memory, as pools of past needs may leave no room for those of now.

        With `chunk` lay it out for the longest sequence that fits, so that every one that fits
        alone finds its room.
        """
        assert not any(pool.num_held for pool in self.pools), "memory in use cannot be returned"
        self.forget()
        self.pools = [Pool(pool.group) for pool in self.pools]
        self.is_laid_out = chunk is not None
        if chunk is not None:
            longest = self.most_tokens(chunk)
            for pool in self.pools:
                pool.grow(self._most_blocks(pool.group, longest, chunk))

    def bytes_alone(self, num_tokens: int, chunk: int) -> int:
        """Return the bytes that a sequence, fed by chunks, takes at most with no other there."""
        return sum(
            (1 + self._most_blocks(pool.group, num_tokens, chunk)) * pool.group.block_bytes
            for pool in self.pools
        )

    def _most_blocks(self, group: Group, num_tokens: int, chunk: int) -> int:
        """Return how many blocks a sequence holds at most on its way to so many tokens."""
        most = -(-num_tokens // self.block_tokens)
        if group.window is not None:
            most = min(most, (group.window + chunk) // self.block_tokens + 2)
        return most

    def _find(self, sequence: Reply) -> list[Prefix]:
        """Return the known prefixes of a sequence; its last token is always computed."""
        size, parent = self.block_tokens, sequence.root
        found: list[Prefix] = []
        for begin in range(0, len(sequence.tokens) - size, size):
            prefix = self._prefixes.get((parent, tuple(sequence.tokens[begin : begin + size])))
            if prefix is None:
                break
            found.append(prefix)
            parent = prefix.number
        return found

    def _usable(self, found: Sequence[Prefix]) -> int:
        """Return behind how many of these blocks a sequence can begin: its windows must be there.

        A run is how many blocks up to a place a pool holds without a gap.
        """
        best = list(range(len(found) + 1))
        for index, pool in enumerate(self.pools):
            runs = [0]
            for prefix in found:
                runs.append(runs[-1] + 1 if prefix.blocks[index] != SCRATCH else 0)
            low = pool.group.low
            size = self.block_tokens
            best = [n for n in best if runs[n] >= n - low(n * size) // size]
        return max(n for n in best if n * self.block_tokens % self.share_step == 0)

    def _can_take(self, needed: Sequence[int]) -> bool:
        """Return whether every pool has so many blocks: free, remembered, or still to be made."""
        return self._bytes_of(self._lacking(needed)) <= self._room_bytes()

    def _lacking(self, needed: Sequence[int]) -> list[int]:
        return [
            max(0, count - len(pool.free) - len(pool.remembered))
            for pool, count in zip(self.pools, needed, strict=True)
        ]

    def _bytes_of(self, counts: Sequence[int]) -> int:
        sizes = [pool.group.block_bytes for pool in self.pools]
        return sum(count * size for count, size in zip(counts, sizes, strict=True))

    def _room_bytes(self) -> int:
        return self.limit_bytes - sum(pool.num_bytes for pool in self.pools)

    def _step(self, pool: Pool) -> int:
        """Return how many blocks a pool grows by, so that it is seldom moved."""
        return max(1, pool.capacity // 2, GROWTH_BYTES // len(self.pools) // pool.group.block_bytes)

    def _take(self, pool: Pool) -> int:
        """Return a block for one holder; a pool grows only while most of it is in use."""
        if not pool.free and (pool.num_held * 2 >= pool.capacity or not pool.remembered):
            pool.grow(min(self._step(pool), self._room_bytes() // pool.group.block_bytes))
        if not pool.free:
            oldest = next(iter(pool.remembered))
            self._part(pool.remembered.pop(oldest), self.pools.index(pool), pool)
            pool.free.append(oldest)
        block = pool.free.pop()
        pool.num_holders[block] = 1
        return block

    def _remember(self, sequence: Reply, place: int) -> None:
        """Enter a full block of a sequence; where another one holds the same, that one stays."""
        size = self.block_tokens
        parent = sequence.prefixes[place - 1].number if place else sequence.root
        key = (parent, tuple(sequence.tokens[place * size : (place + 1) * size]))
        prefix = self._prefixes.get(key)
        if prefix is None:
            prefix = Prefix(key, self._next_number, [SCRATCH] * len(self.pools))
            self._next_number += 1
            self._prefixes[key] = prefix
        for index, (pool, table) in enumerate(zip(self.pools, sequence.tables, strict=True)):
            block = table[place]
            if prefix.blocks[index] == SCRATCH and block != SCRATCH and block not in pool.prefixes:
                prefix.blocks[index] = block
                pool.prefixes[block] = prefix
        sequence.prefixes.append(prefix)

    def _part(self, prefix: Prefix, index: int, pool: Pool) -> None:
        """Forget which block of a pool holds a prefix, and the prefix once no pool holds it."""
        pool.prefixes.pop(prefix.blocks[index], None)
        prefix.blocks[index] = SCRATCH
        if all(block == SCRATCH for block in prefix.blocks):
            self._prefixes.pop(prefix.key, None)
