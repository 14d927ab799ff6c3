"""Writers of metrics for other programs' pages: TensorBoard events, Weights & Biases, trackio.

    writer = TensorBoardWriter(out)
    writer.step_begins(20)              # opens; what metrics.jsonl holds is written first
    writer.row({"kind": "train", "step": 21, "loss": 3.1})

A service's opener returns two functions: log numbers at a step, and finish.
"""

import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.log import read_metrics
from openqwen.core.manifest import EVENTS_NAME, METRICS_NAME
from openqwen.train.tracking import scalars_of

FLUSH_S = 10

Log = Callable[[dict[str, float], int], None]


class TensorBoardWriter:
    """Event files in `events/` that say what `metrics.jsonl` says, whatever happened between.

    Where training goes on from a checkpoint the files are written anew from the rows that are
    left, so that no step has two points.
    """

    def __init__(self, out: Path) -> None:
        """Take the stage's directory; nothing is written before the first step."""
        self._metrics, self._folder = out / METRICS_NAME, out / EVENTS_NAME
        self._writer: Any = None
        self._next_step = -1
        self._time: float | None = None

    def step_begins(self, step: int) -> None:
        """Open the file, or begin it again where the loop went back."""
        if step < self._next_step or self._writer is None:
            self._begin()
        self._next_step = step + 1

    def step_ended(self, step: int) -> None:
        """Need nothing."""

    def row(self, row: dict[str, Any]) -> None:
        """Write a row's numbers."""
        if self._writer is None:
            self._begin()  # the row is among what is read
        else:
            self._write({"time": time.time()} | row)

    def close(self) -> None:
        """Flush and end the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self) -> None:
        from tensorboardX import SummaryWriter

        self.close()
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        suffix = f".{secrets.token_hex(3)}"  # two attempts may begin within one second
        self._writer = SummaryWriter(
            str(self._folder), flush_secs=FLUSH_S, filename_suffix=suffix, max_queue=1000
        )
        for row in read_metrics(self._metrics):
            self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        self._time = row.get("time", self._time)  # of an old row without one: the row's before
        for name, value in scalars_of(row).items():
            self._writer.add_scalar(name, value, int(row["step"]), self._time)


def open_wandb(
    folder: Path, project: str, name: str, settings: dict[str, Any]
) -> tuple[Log, Callable[[], None]]:
    """Begin a run of Weights & Biases, or go on with the folder's; `WANDB_MODE` is theirs to read.

    Raises:
        UserError: if the service refuses, such as without an account.
    """
    import wandb

    identity = _identity(folder)
    try:
        run = wandb.init(
            project=project,
            name=name,
            id=identity,
            resume="allow",
            dir=str(folder.absolute()),
            config=settings,
            settings=wandb.Settings(console="off", quiet=True, disable_git=True),
        )
    except (wandb.Error, ValueError) as error:
        raise UserError(
            f"wandb can't be used: {_one_line(error)}; WANDB_MODE=offline keeps the run here, to "
            "be sent later"
        ) from None
    return (lambda values, step: run.log(values, step=step)), run.finish


def open_trackio(
    folder: Path, project: str, name: str, settings: dict[str, Any]
) -> tuple[Log, Callable[[], None]]:
    """Begin a run of trackio, or go on with the folder's; it lives in trackio's own folder.

    Raises:
        UserError: if trackio refuses.
    """
    import trackio

    try:
        trackio.init(
            project=project,
            name=f"{name}-{_identity(folder)}",  # the name is what a run is found again by
            resume="allow",
            config=settings,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"trackio can't be used: {_one_line(error)}") from None
    return (lambda values, step: trackio.log(values, step=step)), trackio.finish


def _identity(folder: Path) -> str:
    """Return the name under which a folder's run is known to a service, made once."""
    path = folder / "run-id"
    with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
        file.write(secrets.token_hex(4))
    return path.read_text(encoding="utf-8").strip()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
