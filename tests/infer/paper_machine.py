"""A machine on paper: what a forward pass writes and sees, slot by slot, without torch."""

import random

from openqwen.infer.blocks import SCRATCH, Blocks, Group
from openqwen.infer.scheduler import Scheduler
from openqwen.infer.sequence import Sequence

BLOCK = 4


class PaperMachine:
    """Runs plans; every slot remembers the α and all the tokens that its content came from.

    Each look of a query is checked: what stands in a slot it sees must be its own sequence's past.
    """

    def __init__(self, *, windows=(None,), limit=10**6, share=True, **scheduler):
        groups = [Group(window, block_bytes=10 + i) for i, window in enumerate(windows)]
        step = scheduler.get("fixed_chunk") or 1
        self.blocks = Blocks(
            groups, block_tokens=BLOCK, limit_bytes=limit, share=share, share_step=step
        )
        self.scheduler = Scheduler(self.blocks, **scheduler)
        self.slots = [{} for _ in windows]
        self.finished, self.exhausted, self.lengths, self.goals = [], [], [], {}
        self.computed = {}  # of each sequence, how many tokens were computed, again ones counted

    def add(self, number, tokens, *, new=1, alpha=1):
        sequence = Sequence(number, list(tokens), len(tokens), alpha)
        self.scheduler.add(sequence)
        self.goals[number] = len(tokens) + new
        self.computed[number] = 0
        return sequence

    def step(self, seed=0):
        plan = self.scheduler.plan()
        self.exhausted += plan.exhausted
        works = plan.decodes + plan.chunks
        self.lengths.append([work.count for work in works])
        for work in works:
            self._compute(work)
        for work in works:
            self.scheduler.advance(work)
            if work.samples:
                sequence = work.sequence
                history = repr((seed, sequence.tokens, sequence.alpha))
                if len(sequence.tokens) + 1 == self.goals[sequence.number]:
                    self.scheduler.remove(sequence)
                    self.finished.append(sequence)
                sequence.tokens.append(random.Random(history).randrange(2))
        self.check()
        return plan

    def run(self, limit=2000):
        for _ in range(limit):
            if not self.scheduler.running and not self.scheduler.waiting:
                return
            self.step()
        raise AssertionError(f"not finished after {limit} steps")

    def _compute(self, work):
        sequence, begin = work.sequence, work.sequence.num_computed
        end = begin + work.count
        assert end <= len(sequence.tokens)
        self.computed[sequence.number] += work.count
        for slots, pool, table in zip(self.slots, self.blocks.pools, sequence.tables, strict=True):
            for place in range(begin, end):
                block = table[place // BLOCK]
                assert block != SCRATCH
                assert pool.num_holders[block] == 1, "a shared block is written to"
                history = (sequence.alpha, tuple(sequence.tokens[: place + 1]))
                slots[block, place % BLOCK] = history
            for place in range(pool.group.low(begin), end):
                history = (sequence.alpha, tuple(sequence.tokens[: place + 1]))
                assert slots[table[place // BLOCK], place % BLOCK] == history

    def check(self):
        """Every block is free, remembered or held, once; holders are those whose tables say so."""
        for index, pool in enumerate(self.blocks.pools):
            held = [b for s in self.scheduler.running for b in s.tables[index] if b != SCRATCH]
            for block in range(1, pool.capacity):
                assert pool.num_holders[block] == held.count(block)
            everything = [*pool.free, *pool.remembered, *set(held)]
            assert sorted(everything) == list(range(1, pool.capacity))
            assert pool.num_held == len(set(held))
        assert all(not s.tables and not s.num_computed for s in self.scheduler.waiting)
        assert sum(pool.num_bytes for pool in self.blocks.pools) <= self.blocks.limit_bytes
        assert len(self.scheduler.running) <= self.scheduler.max_num_seqs
