"""Forward passes of a plan: what decodes as one batch, prompts in batches of similar width.

    logits_RV = runner.run(plan)      # a row for each piece of the plan that samples, in order

Where the kernels take them, tokens of short prompts are rows of the decoding batch: nothing is
padded, and nothing waits. Every row is as if alone: its own positions, α, LogN and windows.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from openqwen.core.workers import Workers
from openqwen.infer.adapters import Adapters
from openqwen.infer.blocks import SCRATCH, Blocks
from openqwen.infer.fused import reads_tokens_as_rows
from openqwen.infer.kernels.ops import bf16_kernels_are_open
from openqwen.infer.paged_cache import PagedRows, PagedStore, Table
from openqwen.infer.scheduler import Plan, Work
from openqwen.model.decoder import Decoder
from openqwen.model.long_context import LongContext

BF16_SLICE_ROWS, SLICE_ROWS = 8, 16  # rows that a worker decodes
Result = TypeVar("Result")
# a prompt up to here is read as rows: attention costs little there; less where a kernel takes many
# queries at once in bfloat16 (not measured there)
SHORT_TOKENS, BF16_SHORT_TOKENS = 512, 128
PADDED_TOKENS = 128  # prompts are joined, whatever their widths, up to so many tokens


class Runner:
    """Runs plans on a model and its store of keys and values.

    Attributes:
        workers: splits a pass by rows where the model is small; set for the time they are open.
        num_computed: tokens that passes computed, padding among them.
    """

    def __init__(
        self,
        model: Decoder,
        store: PagedStore,
        blocks: Blocks,
        long_context: LongContext,
        *,
        adapters: Adapters | None = None,
        fixed_rows: int | None = None,
        fixed_chunk: int | None = None,
    ) -> None:
        """Join the parts; with `fixed_rows` and `fixed_chunk` all passes have those shapes."""
        self.workers: Workers | None = None
        self.num_computed = 0
        self._model, self._store, self._blocks = model, store, blocks
        self._long_context, self._adapters = long_context, adapters or Adapters()
        self._fixed_rows, self._fixed_chunk = fixed_rows, fixed_chunk
        self._kept = _KeptTables(len(store.groups))
        self._takes_rows = fixed_rows is None and not store.is_int8 and reads_tokens_as_rows(model)
        is_bf16 = model.embed_tokens.weight.dtype == torch.bfloat16
        self._has_wide_attention = is_bf16 and bf16_kernels_are_open()

    @torch.no_grad()
    def run(self, plan: Plan) -> Tensor | None:
        """Compute a plan; return logits (R, V) of the pieces that sample, None where none does."""
        self._store.fit([pool.capacity for pool in self._blocks.pools])
        joined = [work for work in plan.chunks if self._joins(work)]
        apart = [work for work in plan.chunks if not self._joins(work)]
        found: list[Tensor] = []
        rows: dict[int, Tensor] = {}
        if joined:
            logits_RV = self._join(plan.decodes + joined)
            count = sum(work.samples for work in plan.decodes)
            found.append(logits_RV[:count])
            rows |= _by_number(joined, logits_RV[count:])
        elif plan.decodes:
            found += self._decode(plan.decodes)
        if apart:
            batches = [[work] for work in apart]
            if self._fixed_chunk is None:
                batches = batches_of(apart)
            for batch, logits_BV in zip(batches, self._map(self._prefill, batches), strict=True):
                if logits_BV is not None:
                    rows |= _by_number(batch, logits_BV)
        found += [rows[work.sequence.number][None] for work in plan.chunks if work.samples]
        found = [logits_RV for logits_RV in found if len(logits_RV)]
        if not found:
            return None
        return found[0] if len(found) == 1 else torch.cat(found)

    @torch.no_grad()
    def seconds_of_rows(self, count: int) -> float:
        """Return how long one token for each of `count` rows takes, on the scratch block."""
        self._store.fit([pool.capacity for pool in self._blocks.pools])
        tables = [np.full((count, 1), SCRATCH, dtype=np.int32) for _ in self._store.groups]
        ones, nothing = [1] * count, [0] * count
        begin = time.perf_counter()
        self._pass(nothing, tables, lengths=nothing, alphas=ones)
        return time.perf_counter() - begin

    def _joins(self, work: Work) -> bool:
        """Return whether a piece of a prompt is read as rows of one token."""
        longest = BF16_SHORT_TOKENS if self._has_wide_attention else SHORT_TOKENS
        is_short = work.sequence.num_computed + work.count <= longest
        return self._takes_rows and self.workers is None and is_short

    def _join(self, works: Sequence[Work]) -> Tensor:
        """Compute every token of these pieces as a row; return logits (R, V) where they sample."""
        begins = [work.sequence.num_computed for work in works]
        counts = [work.count for work in works]
        tokens = [
            (work, begin + i)
            for work, begin in zip(works, begins, strict=True)
            for i in range(work.count)
        ]
        tables = [
            np.repeat(table, counts, axis=0) for table in _tables_of(works, len(self._store.groups))
        ]
        lasts = np.cumsum(counts) - 1
        with self._adapters.rows([work.sequence.adapter for work, _ in tokens]):
            return self._pass(
                [work.sequence.tokens[place] for work, place in tokens],
                tables,
                lengths=[place for _, place in tokens],
                alphas=[work.sequence.alpha for work, _ in tokens],
                wanted=[int(n) for n, work in zip(lasts, works, strict=True) if work.samples],
            )

    def _decode(self, works: Sequence[Work]) -> list[Tensor]:
        """Compute one token of each row; return logits of those that sample, in pieces."""
        size = slice_rows(self._model)
        if self.workers is None or len(works) <= size:
            logits_BV = self._decode_rows(works, self._kept.tables(works))
            if not all(work.samples for work in works):
                logits_BV = logits_BV[[i for i, work in enumerate(works) if work.samples]]
            return [logits_BV]
        slices = [works[i : i + size] for i in range(0, len(works), size)]

        def decode(rows: Sequence[Work]) -> Tensor:
            return self._decode_rows(rows, _tables_of(rows, len(self._store.groups)))

        return list(self._map(decode, slices))

    def _decode_rows(self, works: Sequence[Work], tables: Sequence[Table]) -> Tensor:
        """Return logits (B, V) of the token behind each row's next."""
        ids = [work.sequence.tokens[work.sequence.num_computed] for work in works]
        lengths = [work.sequence.num_computed for work in works]
        alphas = [work.sequence.alpha for work in works]
        count = len(works)
        if self._fixed_rows is not None:
            missing = self._fixed_rows - count
            ids, lengths, alphas = (
                ids + [0] * missing,
                lengths + [0] * missing,
                alphas + [1] * missing,
            )
            tables = [np.pad(table, ((0, missing), (0, 0))) for table in tables]
        with self._adapters.rows([work.sequence.adapter for work in works]):
            return self._pass(ids, tables, lengths=lengths, alphas=alphas)[:count]

    def _pass(
        self,
        ids: list[int],
        tables: Sequence[Table],
        *,
        lengths: list[int],
        alphas: list[int],
        wanted: list[int] | None = None,
    ) -> Tensor:
        """Compute one token a row; return logits (B, V), or those of the `wanted` rows."""
        rows = PagedRows(
            self._store,
            tables,
            lengths=lengths,
            counts=[1] * len(ids),
            alphas=alphas,
            long_context=self._long_context,
            row_by_row=self._fixed_rows is not None,
        )
        self.num_computed += len(ids)
        ids_B1 = torch.tensor(ids, device=self._model.device)[:, None]
        hidden_BD = self._model.hidden(ids_B1, cache=rows)[:, -1]
        if wanted is not None:
            hidden_BD = hidden_BD[wanted]
        logits_BV: Tensor = self._model.lm_head(hidden_BD)
        return logits_BV

    def _prefill(self, works: Sequence[Work]) -> Tensor | None:
        """Compute pieces of prompts as one padded batch; return logits of those that sample."""
        counts = [work.count for work in works]
        width = self._fixed_chunk or max(counts)
        self.num_computed += len(works) * width
        ids_BT = torch.zeros(len(works), width, dtype=torch.int64)
        for row, work in enumerate(works):
            begin = work.sequence.num_computed
            ids_BT[row, : work.count] = torch.tensor(
                work.sequence.tokens[begin : begin + work.count]
            )
        rows = PagedRows(
            self._store,
            _tables_of(works, len(self._store.groups)),
            lengths=[work.sequence.num_computed for work in works],
            counts=counts,
            alphas=[work.sequence.alpha for work in works],
            long_context=self._long_context,
            row_by_row=self._fixed_chunk is not None,
        )
        ids_BT = ids_BT.to(self._model.device)
        with self._adapters.rows([work.sequence.adapter for work in works]):
            hidden_BTD = self._model.hidden(ids_BT, cache=rows, lengths_B=counts)
        sampling = [row for row, work in enumerate(works) if work.samples]
        if not sampling:
            return None
        last_RD = hidden_BTD[sampling, [counts[row] - 1 for row in sampling]]
        logits_RV: Tensor = self._model.lm_head(last_RD)
        return logits_RV

    def _map(self, function: Callable[[Any], Result], items: Iterable[Any]) -> Iterator[Result]:
        return map(function, items) if self.workers is None else self.workers.map(function, items)


class _KeptTables:
    """The tables of the sequences that decode, changed only where they change."""

    def __init__(self, num_groups: int) -> None:
        self._num_groups = num_groups
        self._numbers: list[tuple[int, int]] = []
        self._lengths: list[int] = []
        self._tables: list[Table] = []

    def tables(self, works: Sequence[Work]) -> list[Table]:
        """Return each group's table of these rows; new arrays whenever the rows are others."""
        numbers = [(work.sequence.number, work.sequence.num_begun) for work in works]
        lengths = [len(work.sequence.tables[0]) for work in works]
        if numbers != self._numbers or max(lengths) > self._tables[0].shape[1]:
            self._tables = _tables_of(works, self._num_groups, spare=8)
        elif lengths != self._lengths:
            for row, (before, now) in enumerate(zip(self._lengths, lengths, strict=True)):
                for table, blocks in zip(self._tables, works[row].sequence.tables, strict=True):
                    table[row, before:now] = blocks[before:now]
        self._numbers, self._lengths = numbers, lengths
        return self._tables


def _by_number(works: Sequence[Work], logits_RV: Tensor) -> dict[int, Tensor]:
    """Return the logits (V,) of those that sample by their sequence's number."""
    numbers = [work.sequence.number for work in works if work.samples]
    return dict(zip(numbers, logits_RV, strict=True))


def slice_rows(model: Decoder) -> int:
    """Return how many rows of a small model a worker decodes at once."""
    is_narrow = model.embed_tokens.weight.dtype == torch.bfloat16
    return BF16_SLICE_ROWS if is_narrow else SLICE_ROWS


def batches_of(works: Sequence[Work]) -> list[list[Work]]:
    """Join pieces of similar width, so that little is padded."""
    batches: list[list[Work]] = []
    for work in sorted(works, key=lambda work: -work.count):
        widest = batches[-1][0].count if batches else 0
        is_near = 4 * work.count >= 3 * widest
        if batches and (is_near or (len(batches[-1]) + 1) * widest <= PADDED_TOKENS):
            batches[-1].append(work)
        else:
            batches.append([work])
    return batches


def _tables_of(works: Sequence[Work], num_groups: int, *, spare: int = 0) -> list[Table]:
    """Return each group's table of these rows, `spare` columns wider than they need."""
    width = max(len(work.sequence.tables[0]) for work in works) + spare
    tables = [np.full((len(works), width), SCRATCH, dtype=np.int32) for _ in range(num_groups)]
    for row, work in enumerate(works):
        for table, blocks in zip(tables, work.sequence.tables, strict=True):
            table[row, : len(blocks)] = blocks
    return tables
