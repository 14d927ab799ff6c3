"""Table 3 for any model: perplexity by length and method, with intervals, and a passkey grid.

    results = measure_long_context(model, tokenizer, documents, config, seed=0, kept=path)

Each finished measure is written to `kept`, so a killed run goes on where it stopped.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.intervals import mean_interval
from openqwen.core.log import MetricStream, Progress, read_metrics, say
from openqwen.core.workers import Workers
from openqwen.eval.config import LongContextConfig
from openqwen.eval.passkey import CHANCE_LOSS, passkey_measure, shortest_prompt
from openqwen.eval.perplexity import (
    Method,
    document_losses,
    perplexity,
    pick_documents,
    table3_methods,
)
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder
from openqwen.model.long_context import NO_EXTENSION
from openqwen.tokenizer.tokenizer import Tokenizer


class TooShortError(UserError):
    """No document reaches the shortest length."""


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
    memo = _Memo(kept)
    with Workers(0 if model.lm_head.weight.device.type == "cpu" else 1) as workers:
        losses = _all_losses(model, texts, lengths, config, memo, workers)
        passkey = _passkey_grid(model, tokenizer, documents, lengths, config, seed, memo, workers)
    return {
        "train_length": model.config.train_length,
        "lengths": lengths,
        "num_documents": len(texts),
        "documents": picked,
        "tokens_a_document": lengths[-1],
        "seed": seed,
        "rows": [_row(m, lengths, losses, lengths[-1]) for m in table3_methods(model.config)],
        "passkey": passkey,
        "passkey_chance_loss": CHANCE_LOSS,
    }


def format_table(results: dict[str, Any]) -> list[str]:
    """Return the perplexities as lines of text, a header first."""
    header = "".join(f"{length:>11,}" for length in results["lengths"])
    lines = [f"{'perplexity at length':<32}{header}"]
    for row in results["rows"]:
        cells = "".join(f"{cell['perplexity']:>11,.2f}" for cell in row["cells"])
        lines.append(f"{row['method']:<32}{cells}")
    exact = sum(cell["num_exact"] for cell in results["passkey"])
    trials = sum(cell["num_trials"] for cell in results["passkey"])
    count = f"{results['num_documents']} documents of {results['tokens_a_document']:,} tokens"
    lines.append(f"n = {count}, seed {results['seed']}; passkeys right: {exact} of {trials}")
    return lines


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
    return [length for length in usable if usable[-1] % length == 0]


def _all_losses(
    model: Decoder,
    texts: list[Tensor],
    lengths: list[int],
    config: LongContextConfig,
    memo: "_Memo",
    workers: Workers,
) -> dict[tuple[str, int], list[float]]:
    """Return method and length -> each document's summed loss."""
    methods = table3_methods(model.config)
    progress = Progress("longcontext   perplexity", total=len(methods) * len(lengths), unit="cells")
    losses: dict[tuple[str, int], list[float]] = {}
    for method in methods:
        for length in lengths:
            losses[method.name, length] = memo.get(
                f"{method.name} {length}",
                partial(_cell_losses, model, texts, length, method, config, losses, workers),
            )
            progress.advance(note=f"{method.name} at {length:,}")
    progress.close()
    return losses


def _cell_losses(
    model: Decoder,
    texts: list[Tensor],
    length: int,
    method: Method,
    config: LongContextConfig,
    known: dict[tuple[str, int], list[float]],
    workers: Workers,
) -> list[float]:
    """Return each document's summed loss; up to the training length every method is the model."""
    plain = known.get(("no method", length))
    if plain is not None and length <= model.config.train_length:
        return plain
    stride = max(1, round(config.truncated_stride_share * model.config.train_length))
    device = model.lm_head.weight.device

    def one(text: Tensor) -> float:
        return document_losses(model, text.to(device), length, method, stride=stride)

    return list(workers.map(one, texts))


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


def _passkey_grid(
    model: Decoder,
    tokenizer: Tokenizer,
    documents: Sequence[Tensor],
    lengths: list[int],
    config: LongContextConfig,
    seed: int,
    memo: "_Memo",
    workers: Workers,
) -> list[dict[str, Any]]:
    """Return the cells of length × depth for no method and for all of them."""
    methods = [m for m in table3_methods(model.config) if not m.is_control]
    chosen = [methods[0], max(methods, key=lambda m: len(m.long_context.describe()))]
    filler = torch.cat(list(documents)).tolist()
    shortest = max(model.config.train_length, shortest_prompt(tokenizer))
    grid_lengths = [n for n in lengths if shortest <= n <= len(filler)]
    cells = [(m, n, d) for m in chosen for n in grid_lengths for d in config.passkey_depths]
    if not config.passkey_trials or not cells:
        return []
    names = [f"passkey {method.name} {length} {depth}" for method, length, depth in cells]

    def measure(cell: tuple[Method, int, float]) -> list[float]:
        method, length, depth = cell
        extended = length > model.config.train_length
        exact, loss = passkey_measure(
            model,
            tokenizer,
            filler,
            length=length,
            depth=depth,
            num_trials=config.passkey_trials,
            long_context=method.long_context if extended else NO_EXTENSION,
            seed=seed,
        )
        return [exact, loss]

    open_cells = [cell for cell, name in zip(cells, names, strict=True) if name not in memo.known]
    fresh = workers.map(measure, open_cells)
    progress = Progress("longcontext   passkey", total=len(cells), unit="cells")
    rows = []
    for (method, length, depth), name in zip(cells, names, strict=True):
        exact, loss = memo.get(name, lambda: next(fresh))
        row = {"method": method.name, "length": length, "depth": depth}
        counts = {"num_trials": config.passkey_trials, "num_exact": int(exact)}
        rows.append(row | counts | {"digit_loss": loss})
        progress.advance(note=f"{method.name} at {length:,}")
    progress.close()
    return rows


class _Memo:
    """Finished measures by name, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.stream = MetricStream(path)
        self.stream.keep_until(0)  # cuts off a torn last line
        self.known: dict[str, list[float]] = {r["name"]: r["values"] for r in read_metrics(path)}

    def get(self, name: str, measure: Callable[[], Sequence[float]]) -> list[float]:
        """Return a kept measure, or take and keep it."""
        if name not in self.known:
            self.known[name] = list(measure())
            self.stream.write({"name": name, "values": self.known[name]})
        return self.known[name]
