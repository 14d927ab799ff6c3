"""Writes a run's checkpoints by policy, at once or beside the next steps.

    saver = Saver(out, settings.checkpoints, keep=2, label="base")
    saver.save(120, trainer.state(), facts)
    saver.wait()                                   # what is still being written is on disk now

Newest ones lie in `scratch/checkpoints/`, those kept for good in `checkpoints/`.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.files import sha256_text, write_text
from openqwen.core.log import warn
from openqwen.core.manifest import KEPT_NAME, METRICS_NAME, SCRATCH_NAME
from openqwen.core.runtime import rank
from openqwen.parallel.mesh import host_group
from openqwen.train.checkpoint import (
    FACTS,
    Usable,
    keep_best,
    keep_for_good,
    remove,
    save_checkpoint,
    sealed,
)
from openqwen.train.checkpoint_config import CheckpointsConfig
from openqwen.train.disk import directory_bytes, master_bytes, require_room, state_bytes
from openqwen.train.disk import telling_full_disk as telling
from openqwen.train.sharded_checkpoint import save_sharded

_RANDOM = "random."  # opens the names of the generators' states


def checkpoints_of(out: Path) -> Path:
    """Return where a stage keeps its checkpoints until it is finished: the export travels on."""
    return out / SCRATCH_NAME / "checkpoints"


def kept_of(out: Path) -> Path:
    """Return where a stage's checkpoints lie that are kept for good."""
    return out / KEPT_NAME


class Saver:
    """Writes checkpoints one after the other; `seconds` is the time it took from the loop."""

    def __init__(self, out: Path, policy: CheckpointsConfig, *, keep: int, label: str) -> None:
        """Take a stage's directory and what is to be kept there."""
        self.out, self.policy, self.keep, self.label = out, policy, keep, label
        self.seconds = 0.0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        if dist.is_initialized():
            host_group()  # opened by all ranks here, used in the thread

    def require_room(self, tensors: dict[str, Tensor], *, num_steps: int) -> None:
        """Raise UserError unless everything that will be kept at one time, and the export, fit."""
        size, masters = state_bytes(tensors), master_bytes(tensors)
        every = self.policy.keep_every_steps
        kept = self.keep + 1 + (num_steps // every if every else 0)  # one more while it is written
        kept += 1 if self.policy.best_measure else 0
        there = sum(directory_bytes(d) for d in (checkpoints_of(self.out), kept_of(self.out)))
        require_room(
            checkpoints_of(self.out),
            max(0, kept * size + masters - there),
            f"{self.label}: {kept} checkpoints of {size:,} bytes and the export",
            largest_file=size,
            fix=f" or lower {self.label.replace('-', '_')}.keep_checkpoints",
        )

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write a checkpoint; asynchronously, of a copy, where the settings say so.

        Raises:
            UserError: if it, or the one before, could not be written for want of room.
        """
        started = time.perf_counter()
        self.wait()
        if self.policy.asynchronous:
            copies = {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
            self._thread = threading.Thread(
                target=self._write_beside, args=(step, copies, facts), name="checkpoint"
            )
            self._thread.start()
        else:
            self._write(step, tensors, facts)
        self.seconds += time.perf_counter() - started

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
            UserError: if it could not be written for want of room.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def keep_for_good(self, new: int = -1) -> None:
        """Link checkpoint `new` if it is to stay, and those that a kill kept from being linked."""
        if rank():
            return  # the first of several processes does
        policy, kept = self.policy, kept_of(self.out)
        every, measure = policy.keep_every_steps, policy.best_measure
        if not every and not measure:
            return
        for saved in list(sealed(checkpoints_of(self.out))):
            if saved.step != new and (kept / saved.path.name / FACTS).is_file():
                continue
            stays = every and saved.step % every == 0
            if stays or measure in saved.facts.get("measures", {}):
                keep_for_good(saved.path, kept)
        keep_best(kept, measure, policy.best_is, every=every)

    def _write_beside(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        try:
            self._write(step, tensors, facts)
        except BaseException as error:  # the loop's thread raises it
            self._error = error

    def _write(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        directory = checkpoints_of(self.out)
        before = max((saved.step for saved in sealed(directory)), default=None)
        stays = "none is there yet" if before is None else f"that of step {before:,} stays"
        what = f"{self.label}: the checkpoint of step {step:,} was not written"
        fix = f"; {stays}: make room and run the same command again"
        with telling(what, directory, then=fix):
            save = save_sharded if dist.is_initialized() else save_checkpoint
            save(directory, step, tensors, facts, keep=self.keep)
            self.keep_for_good(step)


def drop_unusable(out: Path, usable: Usable) -> None:
    """Remove the checkpoints of a course that training has left."""
    for directory in (checkpoints_of(out), kept_of(out)):
        for saved in list(sealed(directory)):
            if not usable(saved.facts):
                remove(saved.path)


def measured(row: dict[str, Any], name: str) -> float:
    """Return the value at a dotted name of a validation row, as `groups.en.loss`.

    Raises:
        UserError: naming what there is.
    """
    found = dict(_numbers(row, ""))
    if name not in found:
        raise UserError(
            f"checkpoints.best_measure = {name!r} is not measured; there are "
            f"{', '.join(sorted(found.keys() - {'step'}))}"
        )
    return found[name]


def _numbers(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _numbers(inner, f"{prefix}{name}.")
        elif isinstance(inner, int | float):
            yield prefix + name, float(inner)


def history_facts(out: Path) -> dict[str, Any]:
    """Return size and sha256 of the metric stream as it is now, which is on disk from here on."""
    path = out / METRICS_NAME
    if not path.is_file():
        return {"bytes": 0, "sha256": sha256_text("")}
    with path.open("rb+") as file:
        text = file.read().decode("utf-8")
        os.fsync(file.fileno())
    return {"bytes": len(text.encode()), "sha256": sha256_text(text)}


def cut_history(out: Path, facts: dict[str, Any]) -> bool:
    """Cut the metric stream to what it was when a checkpoint was saved.

    Returns:
        Whether it still began with the same bytes; if not, it is left as it is.
    """
    path = out / METRICS_NAME
    data = path.read_bytes() if path.is_file() else b""
    text = data[: facts["bytes"]].decode("utf-8", "replace")
    if len(data) < facts["bytes"] or sha256_text(text) != facts["sha256"]:
        warn(f"{path} no longer holds the rows of the checkpoint: its older rows may be missing")
        return False
    write_text(path, text)
    return True


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's own generators, of the CPU and of this process's GPU."""
    states = {f"{_RANDOM}cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states[f"{_RANDOM}cuda"] = torch.cuda.get_rng_state()
    return states


def load_random_states(tensors: Mapping[str, Tensor]) -> None:
    """Put such states of a checkpoint's tensors back."""
    for name in [name for name in tensors if name.startswith(_RANDOM)]:
        state = tensors[name].cpu()
        if name == f"{_RANDOM}cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state)
