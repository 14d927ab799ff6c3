"""When things happen in training: resume, steps, metric rows, validations, checkpoints, the end.

    run_loop("base", trainer, LoopSettings(num_steps=800, …), out)

What a step is, and what is measured, the `Trainer` knows; the loop knows only the calendar. A run
killed at any moment and started again takes the newest whole checkpoint and, since a trainer's
step depends on nothing but its state and the step's number, ends with the same bits.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.log import MetricStream, Progress, read_metrics, say, warn
from openqwen.core.manifest import METRICS_NAME
from openqwen.core.runtime import rank, world_size
from openqwen.train.checkpoint import FACTS, Usable, sealed
from openqwen.train.checkpoint_config import CheckpointsConfig
from openqwen.train.config import TrainingConfig
from openqwen.train.guard import INCIDENTS_NAME, Guard, Incident, Incidents
from openqwen.train.saving import (
    Saver,
    checkpoints_of,
    cut_history,
    drop_unusable,
    history_facts,
    load_random_states,
    measured,
    random_states,
)
from openqwen.train.sharded_checkpoint import load_newest
from openqwen.train.statistics import masters_before, weight_statistics
from openqwen.train.tracking import Observer, open_observers
from openqwen.train.tracking_config import TrackingConfig

NO_TRACKING = TrackingConfig(trackers=())
NEWEST_ONLY = CheckpointsConfig()


class Trainer(Protocol):
    """A thing that can be stepped, measured, saved and restored."""

    tokens_per_step: int
    stop_reason: str  # not "" where the run is to end before its last step; part of the state
    guard: Guard  # judges every update before it is taken

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Take optimiser step number `step` (from 0); return what to log, `loss` among it."""

    def evaluate(self) -> dict[str, Any]:
        """Measure the held-out data; return what to log."""

    def documents(self, step: int) -> list[str]:
        """Return the ids of what step number `step` (from 0) learns from."""

    def activations(self, step: int) -> dict[str, dict[str, float]]:
        """Return how large activations are on one micro-batch of that step, by part."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors a resumed run needs."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
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
    checkpoints: CheckpointsConfig = NEWEST_ONLY
    statistics_every: int = 0


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
        peak_flops_per_s=peak_flops_per_s * world_size(),
        note=note,
        tracking=config.tracking,
        checkpoints=config.checkpoints,
        statistics_every=config.statistics_every_steps,
    )


def run_loop(label: str, trainer: Trainer, settings: LoopSettings, out: Path) -> dict[str, Any]:
    """Train to the last step, resuming where an earlier attempt stopped.

    Args:
        label: the stage's name, opens each line.
        trainer: steps and measures.
        settings: the calendar.
        out: the stage's directory; `metrics.jsonl`, `incidents.jsonl` and the checkpoints live
            there.

    Returns:
        The last validation's measures.

    Raises:
        UserError: if the directory can't be written or has too little room; if the guard stops the
            run, or a checkpoint can't be written. The last checkpoint stays.
    """
    loop = _Loop(label, trainer, settings, out)
    loop.resume()
    try:
        loop.run()
    finally:
        loop.close()
    if trainer.stop_reason:
        say(f"{label:<14}ended early: {trainer.stop_reason}")
    return [row for row in read_metrics(out / METRICS_NAME) if row["kind"] == "validation"][-1]


class _Loop:
    """One run: where it stands, and everything that it tells and writes."""

    def __init__(self, label: str, trainer: Trainer, settings: LoopSettings, out: Path) -> None:
        self.label, self.trainer, self.settings, self.out = label, trainer, settings, out
        self.leads = rank() == 0  # of several processes one writes
        self.saver = Saver(out, settings.checkpoints, keep=settings.keep_checkpoints, label=label)
        self.saver.require_room(trainer.state(), num_steps=settings.num_steps)
        self.metrics = MetricStream(out / METRICS_NAME)
        self.incidents = Incidents(out / INCIDENTS_NAME, writes=self.leads)
        self.observers: list[Observer] = []
        self.progress: Progress | None = None
        self.done = 0  # steps taken, or left out
        self.measures: dict[str, float] = {}  # of a validation after `done` steps

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, from the start where there is none."""
        self.incidents.read()
        if self._restore(self.incidents.usable):
            say(f"{self.label:<14}resumes after step {self.done:,}")
        elif any(checkpoints_of(self.out).glob(f"*/{FACTS}")):
            warn(f"{self.label}: no checkpoint is whole; training begins anew")
        if self.done == 0 and self.trainer.guard.rolls_back:
            self._save()  # something to go back to

    def run(self) -> None:
        """Take the steps that are left."""
        settings, trainer = self.settings, self.trainer
        self._open_observers()
        self.progress = Progress(self.label, total=settings.num_steps, unit="steps", done=self.done)
        self._start_clock()
        while self.done < settings.num_steps and not trainer.stop_reason:
            row = None if self.incidents.leaves_out(self.done + 1) else self._step(self.done)
            incident = trainer.guard.take()
            if incident is not None and self._answer(incident):
                continue  # from an earlier step
            self.done += 1
            self.progress.advance()
            self._keep_records(None if incident else row)

    def close(self) -> None:
        """Wait for what is being written and end the lines."""
        if self.progress is not None:
            self.progress.close()
        for observer in self.observers:
            observer.close()
        self.saver.wait()

    def _step(self, step: int) -> dict[str, Tensor | float]:
        every = self.settings.statistics_every
        wants_statistics = bool(every) and (step + 1) % every == 0
        before = masters_before(self.trainer.state()) if wants_statistics else {}
        for observer in self.observers:
            observer.step_begins(step)
        row = self.trainer.step(step)
        for observer in self.observers:
            observer.step_ended(step)
        if wants_statistics:
            found = weight_statistics(before, self.trainer.state())
            found["activations"] = self.trainer.activations(step)
            self._record({"kind": "statistics", "step": step + 1, **found})
        return row

    def _keep_records(self, row: dict[str, Tensor | float] | None) -> None:
        """Write what is due after `done` steps; the last one is `row`, None where left out."""
        settings, done = self.settings, self.done
        is_last = done == settings.num_steps or bool(self.trainer.stop_reason)
        if row is not None and (is_last or done % settings.log_every == 0):
            numbers = self._finished_row(row)
            self._refuse_non_finite(numbers["loss"])
            self._record({"kind": "train", **numbers})
            assert self.progress is not None
            self.progress.note = (settings.note or _note)(numbers)
            self._start_clock()
        evaluates = is_last or done % settings.evaluate_every == 0
        saves = is_last or done % settings.checkpoint_every == 0
        self.measures = {}
        if evaluates:
            measures = {"kind": "validation", "step": done, **self.trainer.evaluate()}
            self._record(measures)
            if best := settings.checkpoints.best_measure:
                self.measures = {best: measured(measures, best)}
        if saves:
            if row is not None:
                self._refuse_non_finite(float(row["loss"]))
            self._save()
        if evaluates or saves:  # neither belongs to the rate of training
            self._start_clock()

    def _save(self) -> None:
        """Save the state after `done` steps, and what the loop itself must know again."""
        facts = {
            "schedule": {"step": self.done, "num_steps": self.settings.num_steps},
            "data": {"step": self.done, "tokens": self.done * self.trainer.tokens_per_step},
            "metrics": history_facts(self.out),
            "measures": self.measures,
            "guard": self.trainer.guard.state(),
            "rollbacks": len(self.incidents.rollbacks),
        }
        self.saver.save(self.done, self.trainer.state() | random_states(), facts)

    def _restore(self, usable: Usable) -> bool:
        """Take over the newest whole checkpoint that may be used; return whether there was one."""
        if self.leads:
            drop_unusable(self.out, self.incidents.usable)
        newest = load_newest(checkpoints_of(self.out), usable=usable)
        if newest is None:
            self.done = 0
            if self.leads:
                self.metrics.keep_until(0)
            self.incidents.keep_until(0)
            return False
        self.done, tensors, facts = newest
        load_random_states(tensors)
        self.trainer.load_state(tensors)
        self.trainer.guard.load_state(facts["guard"])
        if self.leads and not cut_history(self.out, facts["metrics"]):
            self.metrics.keep_until(self.done)
        self.incidents.keep_until(self.done)
        self.saver.keep_for_good()
        return True

    def _answer(self, incident: Incident) -> bool:
        """Do what the policy says of an update that was refused; return whether it went back."""
        step, config = self.done + 1, self.trainer.guard.config
        documents = self.trainer.documents(self.done)
        row: dict[str, Any] = {"step": step, "kind": incident.kind, "policy": incident.policy}
        row |= {"update": incident.update} if incident.update else {}
        row |= {"loss": _plain(incident.loss), "gradient_norm": _plain(incident.gradient_norm)}
        row |= {"reason": incident.reason}
        stops = len(self.incidents.rows) >= config.most_incidents
        if incident.policy == "stop" or stops:
            self.incidents.add(row | {"policy": "stop", "documents": documents})
            self._stop(incident, stops=stops and incident.policy != "stop")
        if incident.policy == "skip":
            self.incidents.add(row | {"documents": documents})
            self._tell(incident, "this update is skipped")
            return False
        self.saver.wait()
        first = max(1, step - config.rollback_steps + 1)
        back_to = self._checkpoint_before(first)
        row |= {"leaves_out_from": max(first, back_to + 1), "back_to": back_to}
        self.incidents.add(row | {"documents": documents})
        from_step = row["leaves_out_from"]
        left_out = (
            f"step {step:,} is" if from_step == step else f"steps {from_step:,} to {step:,} are"
        )
        self._tell(incident, f"back to the checkpoint of step {back_to:,}; {left_out} left out")
        went_back = self._restore(self.incidents.usable)
        assert went_back, "a checkpoint that was there is gone"
        self._open_observers()
        assert self.progress is not None
        self.progress.done = self.done
        self._start_clock()
        return True

    def _checkpoint_before(self, step: int) -> int:
        """Return the newest checkpoint that has not taken `step`, the oldest if all have."""
        steps = [saved.step for saved in sealed(checkpoints_of(self.out))]
        assert steps, "the start is saved where a policy goes back"
        return max((s for s in steps if s < step), default=min(steps))

    def _stop(self, incident: Incident, *, stops: bool) -> None:
        section = self.label.replace("-", "_")
        many = f" after {len(self.incidents.rows) - 1} incidents" if stops else ""
        raise UserError(
            f"{self.label}: step {self.done + 1:,}: {incident.reason}{many}; the texts are named "
            f"in {self.incidents.path}; lower {section}.learning_rate, raise "
            f"{section}.warmup_steps or see {section}.guard, and run again"
        )

    def _tell(self, incident: Incident, deed: str) -> None:
        warn(
            f"{self.label}: step {self.done + 1:,}: {incident.reason}; {deed} "
            f"({self.incidents.path.name} names the texts)"
        )

    def _refuse_non_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"{self.label}: the loss became {loss} by step {self.done}; lower "
                f"{self.label}.learning_rate or raise {self.label}.warmup_steps and run again"
            )

    def _open_observers(self) -> None:
        for observer in self.observers:
            observer.close()
        settings = self.settings.tracking
        self.observers = open_observers(settings, self.label, self.out) if self.leads else []

    def _record(self, row: dict[str, Any]) -> None:
        if self.leads:
            self.metrics.write(row)
        for observer in self.observers:
            observer.row(row)

    def _start_clock(self) -> None:
        self.clock, self.clock_step = time.perf_counter(), self.done

    def _finished_row(self, row: dict[str, Any]) -> dict[str, float]:
        """Turn a step's values into numbers and add speed."""
        numbers = {name: float(value) for name, value in row.items()}
        steps, seconds = self.done - self.clock_step, time.perf_counter() - self.clock
        rate = steps * self.trainer.tokens_per_step / seconds
        share = rate * self.settings.flops_per_token / self.settings.peak_flops_per_s
        speed = {"tokens_per_s": round(rate, 1), "share_of_peak": round(share, 4)}
        speed["time"] = round(time.time(), 3)
        return {"step": self.done, "tokens": self.done * self.trainer.tokens_per_step} | (
            numbers | speed
        )


def _note(row: dict[str, float]) -> str:
    parts = [f"loss {row['loss']:.3f}"]
    if "bits_per_byte" in row:
        parts.append(f"{row['bits_per_byte']:.3f} bits/byte")
    parts.append(f"{row['tokens_per_s']:,.0f} tokens/s")
    if row["share_of_peak"]:  # 0 where the peak was not measured
        parts.append(f"{100 * row['share_of_peak']:.0f} % of peak")
    return "   ".join(parts)


def _plain(value: float) -> float | str:
    """Return a number as JSON has it, the others by name."""
    return value if math.isfinite(value) else str(value)
