"""Which tokens the next forward passes compute, for whom; no torch, no text.

    scheduler.add(sequence)
    plan = scheduler.plan()                # decode first, then prompts in chunks, then newcomers
    ...                                    # compute them
    scheduler.advance(work)                # for every piece of the plan
    scheduler.remove(sequence)             # finished or cancelled

First come, first served. Where memory runs out the latest sequence gives its blocks back and waits;
it is computed again from its first token, at the same α, and finds what is still remembered.
"""

from collections import deque
from dataclasses import dataclass, field

from openqwen.infer.blocks import Blocks
from openqwen.infer.sequence import Sequence


@dataclass(frozen=True)
class Work:
    """The next `count` tokens of a sequence; `samples` says whether a token is chosen then."""

    sequence: Sequence
    count: int
    samples: bool


@dataclass
class Plan:
    """One step.

    Attributes:
        decodes: sequences with one token to compute.
        chunks: pieces of prompts, in the order of arrival.
        exhausted: sequences that need more memory than there is; they no longer run.
    """

    decodes: list[Work] = field(default_factory=list)
    chunks: list[Work] = field(default_factory=list)
    exhausted: list[Sequence] = field(default_factory=list)


class Scheduler:
    """Continuous batching with chunked prefill and preemption."""

    def __init__(
        self,
        blocks: Blocks,
        *,
        max_num_seqs: int,
        max_tokens: int,
        fixed_chunk: int | None = None,
    ) -> None:
        """Begin with nothing to do.

        Args:
            blocks: the memory.
            max_num_seqs: sequences that run at the same time.
            max_tokens: tokens a step.
            fixed_chunk: cut every prompt at multiples of this, and feed a reply that is computed
                again token by token, as it was the first time.
        """
        self.blocks = blocks
        self.max_num_seqs, self.max_tokens = max_num_seqs, max(max_tokens, max_num_seqs)
        self.fixed_chunk = fixed_chunk
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.num_shared_tokens = 0

    @property
    def chunk(self) -> int:
        """Return how many tokens of one sequence a step computes at most."""
        return self.fixed_chunk or self.max_tokens

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind all others.

        Raises:
            ValueError: if even alone it would never fit.
        """
        if not self.blocks.fits_alone(len(sequence.tokens), self.chunk):
            raise ValueError(f"{len(sequence.tokens):,} tokens never fit")
        if self.blocks.is_laid_out and not self.running and not self.waiting:
            self.blocks.start_over()  # its layout was for sequences that are gone
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Let a sequence go, wherever it is, and take its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self.blocks.release(sequence)

    def plan(self) -> Plan:
        """Decide on the next step and reserve its memory."""
        plan = Plan()
        budget, preempted_before = self.max_tokens, self.num_preemptions
        for decoding in (True, False):
            for sequence in list(self.running):
                if (self._count(sequence) == 1) != decoding or budget <= 0:
                    continue
                if sequence in self.running:  # not preempted by one before it
                    budget -= self._place(sequence, budget, plan)
        while (
            self.waiting
            and len(self.running) < self.max_num_seqs
            and budget > 0
            and self.num_preemptions == preempted_before
        ):
            count = self._admit(self.waiting[0], budget, plan)
            if count == 0:
                break
            budget -= count
        if not (plan.decodes or plan.chunks) and self.waiting and not self.running:
            self._make_way(plan)
        return plan

    def advance(self, work: Work) -> None:
        """Count a piece of the plan as computed."""
        shareable = None if self.fixed_chunk is None else work.sequence.num_prompt
        self.blocks.advance(work.sequence, work.count, num_shareable=shareable)

    def _count(self, sequence: Sequence) -> int:
        """Return how many of its tokens may go together, the step's bound aside."""
        if self.fixed_chunk is None:
            return sequence.num_remaining
        if sequence.num_computed >= sequence.num_prompt:
            return 1
        begin = sequence.num_computed // self.fixed_chunk * self.fixed_chunk
        return min(begin + self.fixed_chunk, sequence.num_prompt) - sequence.num_computed

    def _place(self, sequence: Sequence, budget: int, plan: Plan) -> int:
        """Plan the next tokens of a running sequence; return how many."""
        count = self._count(sequence)
        if self.fixed_chunk is None:
            count = min(count, budget)
        end = sequence.num_computed + count
        while not self.blocks.reserve(sequence, end):
            last = self.running[-1]
            alone = last is sequence and len(self.running) == 1
            if alone and not self.blocks.fits_alone(end, self.chunk):
                self.running.remove(sequence)
                self.blocks.release(sequence)
                plan.exhausted.append(sequence)
                return 0
            self._preempt(last, plan)
            if last is sequence:
                return 0
        self._enter(sequence, count, plan)
        return count

    def _enter(self, sequence: Sequence, count: int, plan: Plan) -> None:
        is_prompt = count > 1 or (
            self.fixed_chunk is not None and sequence.num_computed < sequence.num_prompt
        )
        samples = sequence.num_computed + count == len(sequence.tokens)
        (plan.chunks if is_prompt else plan.decodes).append(Work(sequence, count, samples))

    def _preempt(self, sequence: Sequence, plan: Plan) -> None:
        """Send a running sequence back to the head of the queue."""
        self.running.remove(sequence)
        plan.decodes = [work for work in plan.decodes if work.sequence is not sequence]
        plan.chunks = [work for work in plan.chunks if work.sequence is not sequence]
        self.blocks.release(sequence)
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _admit(self, sequence: Sequence, budget: int, plan: Plan) -> int:
        """Let the first of the queue run, if all that it is now fits; return its planned tokens."""
        self.blocks.adopt(sequence)
        count = self._count(sequence)
        if self.fixed_chunk is None:
            count = min(count, budget)
        fits = self.blocks.could_reserve(sequence, len(sequence.tokens), self.chunk)
        if (
            not fits
            or self._is_being_computed(sequence, plan)
            or not self.blocks.reserve(sequence, sequence.num_computed + count)
        ):
            self.blocks.release(sequence)
            return 0
        self.waiting.popleft()
        self.running.append(sequence)
        self.num_shared_tokens += sequence.num_shared
        self._enter(sequence, count, plan)
        return count

    def _is_being_computed(self, sequence: Sequence, plan: Plan) -> bool:
        """Return whether this step computes for another what this sequence could share next."""
        if not self.blocks.share:
            return False
        step = max(self.blocks.block_tokens, self.blocks.share_step)
        end = sequence.num_computed + step
        if end >= len(sequence.tokens):
            return False
        beginning = sequence.tokens[:end]
        return any(
            work.sequence.root == sequence.root
            and work.sequence.num_computed + work.count >= end
            and work.sequence.tokens[:end] == beginning
            for work in plan.chunks
        )

    def _make_way(self, plan: Plan) -> None:
        """Help the first of the queue where all memory is free and yet not as it needs it."""
        sequence = self.waiting[0]
        self.blocks.start_over(self.chunk)
        if self._admit(sequence, self.max_tokens, plan) == 0:
            self.waiting.popleft()
            plan.exhausted.append(sequence)
