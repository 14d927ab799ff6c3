"""When things happen in training: resume, steps, metric rows, validations, checkpoints, the end.

    run_loop("base", trainer, LoopSettings(num_steps=800, …), out)

What a step is, and what is measured, the `Trainer` knows; the loop knows only the calendar. A run
killed at any moment and started again takes the newest whole checkpoint and, since a trainer's
step depends on nothing but its state and the step's number, ends with the same bits.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.log import MetricStream, Progress, read_metrics, say
from openqwen.core.manifest import METRICS_NAME, SCRATCH_NAME
from openqwen.train.checkpoint import load_newest, save_checkpoint
from openqwen.train.config import TrainingConfig
from openqwen.train.tracking import Observer, open_observers
from openqwen.train.tracking_config import TrackingConfig


NO_TRACKING = TrackingConfig(trackers=())


class Trainer(Protocol):
    """A thing that can be stepped, measured, saved and restored."""

    tokens_per_step: int
    stop_reason: str  # not "" where the run is to end before its last step; part of the state

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Take optimiser step number `step` (from 0); return what to log, `loss` among it."""

    def evaluate(self) -> dict[str, Any]:
        """Measure the held-out data; return what to log."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors a resumed run needs."""

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over such tensors."""


@dataclass(frozen=True)
class LoopSettings:
    """The calendar, in steps; `flops_per_token` and `peak_flops_per_s` give the share of peak."""

    num_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    keep_checkpoints: int
    flops_per_token: float
    peak_flops_per_s: float
    note: Callable[[dict[str, float]], str] | None = None  # what the progress line says of a row
    tracking: TrackingConfig = NO_TRACKING


def calendar_of(
    config: TrainingConfig,
    *,
    num_steps: int = 0,
    flops_per_token: float = 0.0,
    peak_flops_per_s: float = 1.0,
    note: Callable[[dict[str, float]], str] | None = None,
) -> LoopSettings:
    """Return the calendar that settings ask for; `num_steps` replaces theirs where it isn't 0."""
    return LoopSettings(
        num_steps=num_steps or config.num_steps,
        log_every=config.log_every_steps,
        evaluate_every=config.evaluate_every_steps,
        checkpoint_every=config.checkpoint_every_steps,
        keep_checkpoints=config.keep_checkpoints,
        flops_per_token=flops_per_token,
        peak_flops_per_s=peak_flops_per_s,
        note=note,
        tracking=config.tracking,
    )


def run_loop(label: str, trainer: Trainer, settings: LoopSettings, out: Path) -> dict[str, Any]:
    """Train to the last step, resuming where an earlier attempt stopped.

    Args:
        label: the stage's name, opens each line.
        trainer: steps and measures.
        settings: the calendar.
        out: the stage's directory; `metrics.jsonl` and `scratch/checkpoints/` live there.

    Returns:
        The last validation's measures.

    Raises:
        UserError: if the loss stops being a finite number; the last checkpoint stays.
    """
    metrics = MetricStream(out / METRICS_NAME)
    first = _resume(label, trainer, metrics, out)
    observers = open_observers(settings.tracking, label, out)
    progress = Progress(label, total=settings.num_steps, unit="steps", done=first)
    window_start, window_step = time.perf_counter(), first
    for step in range(first, settings.num_steps):
        if trainer.stop_reason:  # said so just before it was killed
            break
        for observer in observers:
            observer.step_begins(step)
        row = trainer.step(step)
        for observer in observers:
            observer.step_ended(step)
        done = step + 1
        is_last = done == settings.num_steps or bool(trainer.stop_reason)
        if is_last or done % settings.log_every == 0:
            now = time.perf_counter()
            rate = (done - window_step) * trainer.tokens_per_step / (now - window_start)
            numbers = _finished_row(row, done, trainer, rate, settings)
            _refuse_non_finite(label, numbers["loss"], done)
            _record({"kind": "train", **numbers}, metrics, observers)
            progress.note = (settings.note or _note)(numbers)
            window_start, window_step = now, done
        progress.advance()
        evaluates = is_last or done % settings.evaluate_every == 0
        saves = is_last or done % settings.checkpoint_every == 0
        if evaluates:
            measures = {"kind": "validation", "step": done, **trainer.evaluate()}
            _record(measures, metrics, observers)
        if saves:
            _refuse_non_finite(label, float(row["loss"]), done)
            save_checkpoint(
                checkpoints_of(out), done, trainer.state(), {}, keep=settings.keep_checkpoints
            )
        if evaluates or saves:  # neither belongs to the rate of training
            window_start, window_step = time.perf_counter(), done
    progress.close()
    for observer in observers:
        observer.close()
    if trainer.stop_reason:
        say(f"{label:<10}ended early: {trainer.stop_reason}")
    return [row for row in read_metrics(metrics.path) if row["kind"] == "validation"][-1]


def _record(row: dict[str, Any], metrics: MetricStream, observers: list[Observer]) -> None:
    metrics.write(row)
    for observer in observers:
        observer.row(row)


def checkpoints_of(out: Path) -> Path:
    """Return where a stage keeps its checkpoints until it is finished: the export travels on."""
    return out / SCRATCH_NAME / "checkpoints"


def _resume(label: str, trainer: Trainer, metrics: MetricStream, out: Path) -> int:
    """Restore the newest checkpoint, if any; return the first step to take."""
    newest = load_newest(checkpoints_of(out))
    step = 0
    if newest is not None:
        step, tensors, _ = newest
        trainer.load_state(tensors)
        say(f"{label:<10}resumes after step {step:,}")
    metrics.keep_until(step)
    return step


def _finished_row(
    row: dict[str, Any], step: int, trainer: Trainer, rate: float, settings: LoopSettings
) -> dict[str, float]:
    """Turn a step's values into numbers and add speed."""
    numbers = {name: float(value) for name, value in row.items()}
    share = rate * settings.flops_per_token / settings.peak_flops_per_s
    speed = {"tokens_per_s": round(rate, 1), "share_of_peak": round(share, 4)}
    return {"step": step, "tokens": step * trainer.tokens_per_step, **numbers, **speed}


def _note(row: dict[str, float]) -> str:
    return (
        f"loss {row['loss']:.3f}   {row['tokens_per_s']:,.0f} tokens/s   "
        f"{100 * row['share_of_peak']:.0f} % of peak"
    )


def _refuse_non_finite(label: str, loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"{label}: the loss became {loss} by step {step}; lower "
            f"{label}.learning_rate or raise {label}.warmup_steps and run again"
        )
