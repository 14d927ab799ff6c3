"""Who watches a training run: TensorBoard, Weights & Biases, trackio, the profiler.

    observers = open_observers(config.tracking, "base", out)
    for observer in observers:
        observer.row({"kind": "train", "step": 10, "loss": 3.2})

`metrics.jsonl` is the record; observers only show it. So one that fails is left out with a line,
and training goes on. What they write stands in `events/` and `trace/` of the stage's directory: no
part of the stage's outputs.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_json
from openqwen.core.log import say, warn
from openqwen.core.manifest import EVENTS_NAME, STARTED_NAME, TRACE_NAME
from openqwen.train.tracking_config import TrackingConfig

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}
_MARKS_NAME = "told.json"  # how far a service has been told


class Observer(Protocol):
    """Something that is told what the loop does; steps count from 0, a row's `step` from 1."""

    def step_begins(self, step: int) -> None:
        """Hear that step number `step` is about to be taken; the first one opens what is needed."""

    def step_ended(self, step: int) -> None:
        """Hear that the step is over."""

    def row(self, row: dict[str, Any]) -> None:
        """Take a row that was just written to `metrics.jsonl`."""

    def close(self) -> None:
        """Write what is left; nothing comes afterwards."""


def open_observers(config: TrackingConfig, label: str, out: Path) -> list[Observer]:
    """Return the observers that the settings ask for, ready for the first step.

    Args:
        config: which.
        label: the stage's name, opens each line.
        out: the stage's directory; its `metrics.jsonl` already ends where training goes on.

    Raises:
        UserError: if a tracker that is named is not installed, or its service can't be used.
    """
    observers: list[Observer] = [
        _Guarded(name, _open_tracker(name, config, out)) for name in _chosen(config, label)
    ]
    if config.trace_first:
        from openqwen.train.tracking_trace import TraceWriter

        first = config.trace_first - 1
        trace = TraceWriter(label, out / TRACE_NAME, first=first, count=config.trace_steps)
        observers.append(_Guarded("the trace", trace))
    return observers


def scalars_of(row: dict[str, Any]) -> dict[str, float]:
    """Return a row's numbers under flat names: `train/loss`, `validation/en/bits_per_byte`."""
    kind = str(row.get("kind", "train"))
    found: dict[str, float] = {}
    _flatten(kind, {k: v for k, v in row.items() if k not in ("kind", "step", "time")}, found)
    return {name.replace("/groups/", "/"): value for name, value in found.items()}


class ServiceObserver:
    """Hands each row to a service once, also where steps are taken again after a kill."""

    def __init__(
        self, marks: Path, log: Callable[[dict[str, float], int], None], finish: Callable[[], None]
    ) -> None:
        """Take the file that remembers, per kind of row, the last step the service was told."""
        self._path, self._log, self._finish = marks, log, finish
        self._before: dict[str, int] = read_json(marks) if marks.is_file() else {}
        self._told = dict(self._before)

    def step_begins(self, step: int) -> None:
        """Need nothing."""

    def step_ended(self, step: int) -> None:
        """Need nothing."""

    def row(self, row: dict[str, Any]) -> None:
        """Log the row's numbers, unless an earlier attempt has."""
        kind, step = str(row.get("kind", "train")), int(row["step"])
        if step > self._before.get(kind, 0):
            self._log(scalars_of(row), step)
            self._told[kind] = step
            write_json(self._path, self._told)

    def close(self) -> None:
        """End the service's run."""
        self._finish()


class _Guarded:
    """An observer that can't end the training: when it fails it is left out, with a line."""

    def __init__(self, name: str, observer: Observer) -> None:
        self._name = name
        self._observer: Observer | None = observer

    def step_begins(self, step: int) -> None:
        self._tell(lambda observer: observer.step_begins(step))

    def step_ended(self, step: int) -> None:
        self._tell(lambda observer: observer.step_ended(step))

    def row(self, row: dict[str, Any]) -> None:
        self._tell(lambda observer: observer.row(row))

    def close(self) -> None:
        self._tell(lambda observer: observer.close())

    def _tell(self, what: Callable[[Observer], None]) -> None:
        if self._observer is not None:
            try:
                what(self._observer)
            except Exception as error:
                self._observer = None
                reason = str(error) or type(error).__name__
                warn(f"{self._name} failed ({reason}) and is left out; training goes on")


def _chosen(config: TrackingConfig, label: str) -> list[str]:
    """Return the trackers to open; say where "auto" finds none and refuse a missing one."""
    chosen = []
    for name in dict.fromkeys(config.trackers):
        package = _PACKAGES["tensorboard" if name == "auto" else name]
        if importlib.util.find_spec(package) is not None:
            chosen.append("tensorboard" if name == "auto" else name)
        elif name == "auto":
            say(f"{label:<14}no TensorBoard events: pip install 'openqwen[track]' for them")
        else:
            raise UserError(
                f"{label}.tracking.trackers names {name}, which needs the package {package}: "
                f"pip install {package}"
            )
    return list(dict.fromkeys(chosen))


def _open_tracker(name: str, config: TrackingConfig, out: Path) -> Observer:
    from openqwen.train import tracking_writers

    if name == "tensorboard":
        return tracking_writers.TensorBoardWriter(out)
    started = out / STARTED_NAME
    settings = read_json(started).get("settings", {}) if started.is_file() else {}
    run_name = config.name or f"{out.absolute().parent.name}/{out.absolute().name}"
    folder = out / EVENTS_NAME / name
    folder.mkdir(parents=True, exist_ok=True)
    opened = {"wandb": tracking_writers.open_wandb, "trackio": tracking_writers.open_trackio}
    log, finish = opened[name](folder, config.project, run_name, settings)
    return ServiceObserver(folder / _MARKS_NAME, log, finish)


def _flatten(prefix: str, value: Any, found: dict[str, float]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(f"{prefix}/{name}", inner, found)
    elif isinstance(value, int | float):
        found[prefix] = float(value)
