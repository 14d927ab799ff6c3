"""Judges each update before it is taken: losses that are no numbers, and losses that jump.

    guard = Guard(config.guard)                        # the trainer's
    optimise(…, accept=lambda kept, norm: guard.accepts(loss_of(kept), norm))
    incident = guard.take()                            # the loop's: None where all is well

A spike is a loss above mean + k standard deviations of the last accepted ones, or a gradient norm
above m times their median. What is judged is kept out of both. The windows are part of every
checkpoint, and `incidents.jsonl` holds what was decided, so a resumed run decides the same.
"""

import json
import math
import os
import statistics
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from openqwen.core.files import write_text
from openqwen.core.log import read_metrics
from openqwen.train.guard_config import GuardConfig

INCIDENTS_NAME = "incidents.jsonl"


@dataclass(frozen=True)
class Incident:
    """An update that was not taken, and what is to be done about it."""

    kind: str  # non_finite or spike
    policy: str  # stop, skip or rollback
    update: str  # which of a step's updates; "" where there is one
    loss: float
    gradient_norm: float
    reason: str


@dataclass
class _Windows:
    """Losses and gradient norms of the last accepted updates."""

    losses: deque[float]
    norms: deque[float]


class Guard:
    """The judgement of one trainer's updates."""

    def __init__(self, config: GuardConfig) -> None:
        """Start with empty windows."""
        self.config = config
        self._windows: dict[str, _Windows] = {}
        self._incident: Incident | None = None

    @property
    def rolls_back(self) -> bool:
        """Return whether any finding leads back to a checkpoint."""
        return "rollback" in (self.config.non_finite, self.config.spike)

    def accepts(self, loss: Tensor | float, norm: Tensor | float, *, update: str = "") -> bool:
        """Judge one update; where it is refused, `take` returns why.

        Args:
            loss: of the whole step, (); reading it waits for the device.
            norm: of the gradient before clipping, ().
            update: which of a step's updates this is, where there are several.
        """
        value, size = float(loss), float(norm)
        windows = self._windows.setdefault(update, self._empty())
        kind, reason = self._judge(value, size, windows)
        if kind:
            policy = self.config.non_finite if kind == "non_finite" else self.config.spike
            if self._incident is None:  # a step's first tells
                self._incident = Incident(kind, policy, update, value, size, reason)
            return False
        if self.config.spike != "off":
            windows.losses.append(value)
            windows.norms.append(size)
        return True

    def take(self) -> Incident | None:
        """Return what happened since the last call, and forget it."""
        found, self._incident = self._incident, None
        return found

    def state(self) -> dict[str, Any]:
        """Return the windows as JSON; every number comes back to the bit."""
        return {
            name: {"losses": list(windows.losses), "norms": list(windows.norms)}
            for name, windows in self._windows.items()
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over such windows."""
        self._incident = None
        self._windows = {}
        for name, kept in state.items():
            self._windows[name] = windows = self._empty()
            windows.losses.extend(kept["losses"])
            windows.norms.extend(kept["norms"])

    def _empty(self) -> _Windows:
        size = self.config.window_steps
        return _Windows(deque(maxlen=size), deque(maxlen=size))

    def _judge(self, loss: float, norm: float, windows: _Windows) -> tuple[str, str]:
        """Return kind and reason, two empty texts where the update may be taken."""
        config = self.config
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                return "non_finite", f"the {name} is {value}"
        if config.spike == "off" or len(windows.losses) < config.quiet_steps:
            return "", ""
        mean = statistics.fmean(windows.losses)
        deviation = statistics.pstdev(windows.losses, mean)
        if loss > mean + config.loss_deviations * deviation:
            return "spike", f"the loss is {loss:.4g}, the last ones {mean:.4g} ± {deviation:.2g}"
        median = statistics.median(windows.norms)
        if norm > config.norm_multiple * median:
            return "spike", f"the gradient norm is {norm:.4g}, the last ones' median {median:.4g}"
        return "", ""


@dataclass
class Incidents:
    """What was decided so far: the rows of `incidents.jsonl`, which is on disk before the deed.

    Rows of rollbacks are never cut: what they leave out stays left out, also where the process
    was killed in the middle of going back.
    """

    path: Path
    writes: bool = True  # only one of several processes does
    rows: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> None:
        """Take over what an earlier attempt left."""
        self.rows = read_metrics(self.path)

    def add(self, row: dict[str, Any]) -> None:
        """Write one row through to the disk."""
        self.rows.append(row)
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def keep_until(self, step: int) -> None:
        """Drop skips past `step`: they will be met again."""
        kept = [row for row in self.rows if row["step"] <= step or row["policy"] == "rollback"]
        if self.writes and self.path.is_file():
            write_text(
                self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
            )
        self.rows = kept

    @property
    def rollbacks(self) -> list[dict[str, Any]]:
        """Return the rows that led back to a checkpoint, in their order."""
        return [row for row in self.rows if row["policy"] == "rollback"]

    def leaves_out(self, step: int) -> bool:
        """Return whether step number `step` (from 1) is not to be taken this time."""
        return any(row["leaves_out_from"] <= step <= row["step"] for row in self.rollbacks)

    def usable(self, facts: dict[str, Any]) -> bool:
        """Return whether a checkpoint belongs to the course that training is on now.

        One saved before a rollback is, if it lies at or before where that went back to.
        """
        later = self.rollbacks[facts.get("rollbacks", 0) :]
        return all(facts["step"] <= row["back_to"] for row in later)
