"""Table 3 for any model: perplexity by length and method, with intervals, and a passkey grid.

    results = measure_long_context(model, tokenizer, documents, config, seed=0, kept=path)

Each finished measure is written to `kept`, so a killed run goes on where it stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.intervals import mean_interval
from openqwen.core.log import say
from openqwen.core.workers import Workers
from openqwen.eval.config import LongContextConfig
from openqwen.eval.kept import Kept
from openqwen.eval.passkey import CHANCE_LOSS
from openqwen.eval.passkey_grid import grid_cells, passkey_rows
from openqwen.eval.perplexity import (
    Method,
    document_losses,
    loss_flops,
    perplexity,
    pick_documents,
    table3_methods,
)
from openqwen.eval.work import Watch
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder
from openqwen.tokenizer.tokenizer import Tokenizer

TABLE3_LENGTHS = (1024, 2048, 4096, 8192, 16_384)

Losses = dict[tuple[str, int], list[float]]  # method and length -> each document's summed loss


class TooShortError(UserError):
    """No document reaches the shortest length."""


def usual_lengths(train_length: int) -> list[int]:
    """Return Table 3's lengths for a model: ½ to 16 times its training length, up to 16,384 tokens.

    Where fewer than three are left (a long training length), 1,024 to 16,384 as in the table.
    """
    multiples = [train_length // 2 * 2**power for power in range(6)]
    lengths = [length for length in multiples if 2 <= length <= TABLE3_LENGTHS[-1]]
    return lengths if len(lengths) >= 3 else list(TABLE3_LENGTHS)


def measure_long_context(
    model: Decoder,
    tokenizer: Tokenizer,
    documents: Sequence[Tensor],
    config: LongContextConfig,
    *,
    seed: int,
    kept: Path,
) -> dict[str, Any]:
    """Measure all methods at all lengths on the longest-lived of the held-out documents.

    Args:
        model: in evaluation mode.
        tokenizer: of the model.
        documents: token ids of held-out documents, (N,) int64 each.
        config: lengths, counts and the controls' settings.
        seed: draws the passkeys.
        kept: a JSONL file that keeps finished measures.

    Returns:
        JSON-ready: lengths, places of the documents used, rows of perplexities with intervals and
        paired differences to no method, passkey cells.

    Raises:
        TooShortError: if no document is longer than the shortest length.
    """
    lengths = _usable_lengths(model.config, documents, config)
    picked = pick_documents([len(d) for d in documents], lengths[-1], config.num_documents)
    texts = [documents[i][: lengths[-1] + 1] for i in picked]
    methods = table3_methods(model.config, config)
    table = _Table(model, texts, lengths, methods, config, Kept(kept))
    filler = torch.cat(list(documents)).tolist()
    cells = grid_cells(model.config, tokenizer, len(filler), lengths, methods, config)
    watch = _start_watch(table, {c.name: c.flops(model.config, config) for c in cells})
    with Workers(0 if model.device.type == "cpu" else 1) as workers:
        losses = table.measure(workers, watch)
        passkey = passkey_rows(
            model, tokenizer, filler, cells, config,
            seed=seed, kept=table.kept, watch=watch, workers=workers,
        )  # fmt: skip
    watch.close()
    return {
        "train_length": model.config.train_length,
        "lengths": lengths,
        "num_documents": len(texts),
        "documents": picked,
        "tokens_a_document": lengths[-1],
        "seed": seed,
        "rows": [_row(m, lengths, losses, lengths[-1]) for m in methods],
        "passkey": passkey,
        "passkey_chance_loss": CHANCE_LOSS,
    }


def _usable_lengths(
    shape: ModelConfig, documents: Sequence[Tensor], config: LongContextConfig
) -> list[int]:
    """Return the lengths in tokens that at least one document reaches, told where any is lost."""
    wanted = sorted({round(m * shape.train_length) for m in config.length_multiples})
    longest = max((len(d) - 1 for d in documents), default=0)
    usable = [length for length in wanted if length <= longest]
    if not usable:
        raise TooShortError(
            f"the longest held-out document has {longest:,} tokens, less than {wanted[0]:,}; give "
            "longer documents or smaller longcontext.length_multiples"
        )
    if len(usable) < len(wanted):
        say(
            f"longcontext   no held-out document of {wanted[len(usable)]:,} tokens (the longest "
            f"has {longest:,}): lengths stop at {usable[-1]:,}"
        )
    # every length scores the same text, so the largest must be a multiple of all
    odd = [length for length in usable if usable[-1] % length]
    if odd:
        say(f"longcontext   {odd[0]:,} doesn't divide {usable[-1]:,}, so it is left out")
    return [length for length in usable if length not in odd]


@dataclass(frozen=True)
class _Table:
    """Perplexity's part of the work: every method at every length on the same texts."""

    model: Decoder
    texts: list[Tensor]
    lengths: list[int]
    methods: list[Method]
    config: LongContextConfig
    kept: Kept

    @property
    def stride(self) -> int:
        """Return the tokens that the truncated control moves by."""
        return max(1, round(self.config.truncated_stride_share * self.model.config.train_length))

    def flops(self, method: Method, length: int) -> float:
        """Return a cell's operations; 0 where it is copied from no method's."""
        if method.name != self.methods[0].name and length <= self.model.config.train_length:
            return 0.0
        chunks = self.lengths[-1] // length
        one = loss_flops(self.model.config, length, method, stride=self.stride)
        return len(self.texts) * chunks * one

    def measure(self, workers: Workers, watch: Watch) -> Losses:
        """Return the losses of all cells."""
        losses: Losses = {}
        for method in self.methods:
            for length in self.lengths:
                name = f"{method.name} {length}"
                is_new = name not in self.kept.known
                losses[method.name, length] = self.kept.get(
                    name, partial(self._cell, method, length, losses, workers)
                )
                if is_new:
                    watch.advance(self.flops(method, length), f"{method.name} at {length:,}")
        return losses

    def _cell(self, method: Method, length: int, known: Losses, workers: Workers) -> list[float]:
        """Return each document's loss; up to the training length every method is the model."""
        plain = known.get((self.methods[0].name, length))
        if plain is not None and length <= self.model.config.train_length:
            return plain

        def one(text: Tensor) -> float:
            on_device = text.to(self.model.device)
            return document_losses(self.model, on_device, length, method, stride=self.stride)

        return list(workers.map(one, self.texts))


def _start_watch(table: _Table, passkey_flops: dict[str, float]) -> Watch:
    """Say what is going to be computed, and start the clock on what is not kept already."""
    flops = {
        f"{method.name} {length}": table.flops(method, length)
        for method in table.methods
        for length in table.lengths
    } | passkey_flops
    total = sum(flops.values())
    done = sum(value for name, value in flops.items() if name in table.kept.known)
    say(
        f"longcontext   {len(table.methods)} rows at {len(table.lengths)} lengths on "
        f"{len(table.texts)} documents of {table.lengths[-1]:,} tokens, {len(passkey_flops)} "
        f"passkey cells of {table.config.passkey_trials}: {total / 1e9:,.0f} GFLOP"
        + (f", {done / total:.0%} kept from before" if done else "")
    )
    return Watch("longcontext", total=total, done=done)


def _row(
    method: Method, lengths: list[int], losses: dict[tuple[str, int], list[float]], tokens: int
) -> dict[str, Any]:
    """Return one method's cells: perplexity, standard error, paired difference to no method."""
    cells = []
    for length in lengths:
        mine = losses[method.name, length]
        plain = losses["no method", length]
        mean, half = mean_interval([loss / tokens for loss in mine])
        gain, gain_half = mean_interval(
            [(a - b) / tokens for a, b in zip(mine, plain, strict=True)]
        )
        cells.append(
            {
                "length": length,
                "perplexity": perplexity(sum(mine), tokens * len(mine)),
                "low": math.exp(mean - half) if math.isfinite(half) else None,
                "high": math.exp(mean + half) if math.isfinite(half) else None,
                "difference_nats": gain,
                "difference_half_width": gain_half if math.isfinite(gain_half) else None,
                "differs": math.isfinite(gain_half) and abs(gain) > gain_half > 0,
            }
        )
    return {"method": method.name, "is_control": method.is_control, "cells": cells}


def format_table(results: dict[str, Any]) -> list[str]:
    """Return the perplexities as lines of text, a header first.

    Where no length exceeds the training length every row would be the first one, so it stands
    alone.
    """
    header = "".join(f"{length:>11,}" for length in results["lengths"])
    lines = [f"{'perplexity at length':<32}{header}"]
    train_length = results["train_length"]
    is_extended = results["lengths"][-1] > train_length
    for row in results["rows"] if is_extended else results["rows"][:1]:
        cells = "".join(f"{cell['perplexity']:>11,.2f}" for cell in row["cells"])
        lines.append(f"{row['method']:<32}{cells}")
    if not is_extended:
        lines.append(f"up to {train_length:,} tokens, its training length, no method is in force")
    exact = sum(cell["num_exact"] for cell in results["passkey"])
    trials = sum(cell["num_trials"] for cell in results["passkey"])
    count = f"{results['num_documents']} documents of {results['tokens_a_document']:,} tokens"
    lines.append(f"n = {count}, seed {results['seed']}; passkeys right: {exact} of {trials}")
    return lines


def format_grid(results: dict[str, Any]) -> list[str]:
    """Return the passkey grid as lines of text, a header first; nothing where none was measured."""
    cells = {(c["method"], c["length"], c["depth"]): c for c in results["passkey"]}
    if not cells:
        return []
    depths = sorted({depth for _, _, depth in cells})
    trials = next(iter(cells.values()))["num_trials"]
    header = f"passkeys right of {trials}, at depth"
    lines = [f"{header:<43}" + "".join(f"{depth:>8.0%}" for depth in depths)]
    for method, length in dict.fromkeys((m, n) for m, n, _ in cells):
        right = "".join(f"{cells[method, length, d]['num_exact']:>8}" for d in depths)
        lines.append(f"{method:<32}{length:>11,}{right}")
    return lines
