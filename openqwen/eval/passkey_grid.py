"""Passkey retrieval by length and depth, without any method and with all of them.

cells = grid_cells(model.config, tokenizer, len(filler), lengths, methods, config)
rows = passkey_rows(model, tokenizer, filler, cells, config, seed=0, kept=kept, ...)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from openqwen.core.workers import Workers
from openqwen.eval.config import LongContextConfig
from openqwen.eval.kept import Kept
from openqwen.eval.passkey import passkey_measure, shortest_prompt
from openqwen.eval.perplexity import Method
from openqwen.eval.work import Watch, pass_flops
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder
from openqwen.model.long_context import NO_EXTENSION
from openqwen.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Cell:
    """Prompts of one length with the key at one depth.

    Attributes:
        method: in force only beyond the training length.
        length: tokens of a prompt.
        depth: place of the key, as a share of the length.
        is_extended: whether the length exceeds the training length; else every method is the model.
    """

    method: Method
    length: int
    depth: float
    is_extended: bool

    @property
    def name(self) -> str:
        """Return what the cell is kept under; the model itself has one name."""
        method = self.method.name if self.is_extended else "no method"
        return f"passkey {method} {self.length} {self.depth}"

    def flops(self, shape: ModelConfig, config: LongContextConfig) -> float:
        """Return the floating-point operations of all its prompts."""
        windows = self.method.long_context.windows if self.is_extended else None
        one = pass_flops(shape, tokens=self.length, windows=windows, scored=0)
        return config.passkey_trials * one


def grid_cells(
    shape: ModelConfig,
    tokenizer: Tokenizer,
    num_filler: int,
    lengths: list[int],
    methods: list[Method],
    config: LongContextConfig,
) -> list[Cell]:
    """Return the cells in order: no method, then the fullest one; none where nothing fits.

    Args:
        shape: of the model.
        tokenizer: of the model.
        num_filler: tokens of ordinary text there are.
        lengths: measured lengths in tokens, for where the settings name none of the grid's own.
        methods: rows of the table.
        config: depths and prompts a cell.
    """
    train_length = shape.train_length
    shortest = shortest_prompt(tokenizer)
    wanted = sorted({round(m * train_length) for m in config.passkey_multiples})
    wanted = wanted or [n for n in lengths if n >= train_length]
    fitting = [n for n in wanted if shortest <= n <= num_filler]
    if not config.passkey_trials or not fitting:
        return []
    chosen = [methods[0]]
    if fitting[-1] > train_length:
        extending = [method for method in methods[1:] if not method.is_control]
        chosen += [max(extending, key=_parts)] if extending else []
    return [
        Cell(method, length, depth, length > train_length)
        for method in chosen
        for length in fitting
        for depth in config.passkey_depths
    ]


def passkey_rows(
    model: Decoder,
    tokenizer: Tokenizer,
    filler: list[int],
    cells: list[Cell],
    config: LongContextConfig,
    *,
    seed: int,
    kept: Kept,
    watch: Watch,
    workers: Workers,
) -> list[dict[str, Any]]:
    """Measure the cells; return one row each: how many keys came out right, the digits' loss."""
    measure = partial(_measure, model, tokenizer, filler, config, seed)
    open_cells = {cell.name: cell for cell in cells if cell.name not in kept.known}
    fresh: Iterator[list[float]] = workers.map(measure, open_cells.values())
    rows = []
    for cell in cells:
        is_new = cell.name not in kept.known
        exact, loss = kept.get(cell.name, lambda: next(fresh))
        if is_new:
            watch.advance(
                cell.flops(model.config, config), f"passkeys at {cell.length:,}, {cell.depth:g}"
            )
        rows.append(
            {
                "method": cell.method.name,
                "length": cell.length,
                "depth": cell.depth,
                "num_trials": config.passkey_trials,
                "num_exact": int(exact),
                "digit_loss": loss,
            }
        )
    return rows


def _measure(
    model: Decoder,
    tokenizer: Tokenizer,
    filler: list[int],
    config: LongContextConfig,
    seed: int,
    cell: Cell,
) -> list[float]:
    exact, loss = passkey_measure(
        model,
        tokenizer,
        filler,
        length=cell.length,
        depth=cell.depth,
        num_trials=config.passkey_trials,
        long_context=cell.method.long_context if cell.is_extended else NO_EXTENSION,
        seed=seed,
    )
    return [exact, loss]


def _parts(method: Method) -> int:
    """Return how many methods a row joins."""
    methods = method.long_context
    return methods.ntk + methods.logn + (methods.windows is not None)
