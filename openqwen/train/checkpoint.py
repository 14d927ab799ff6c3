"""Training checkpoints: atomic, checksummed, kept by policy; the newest whole one wins.

    save_checkpoint(directory, step, tensors, facts, keep=2)
    step, tensors, facts = load_newest(directory)      # None where there is none

A checkpoint is a folder `step-00001200` with data files and, written last, `state.json`: its form,
the size and sha256 of every data file, what the run wants to know again, and a sha256 of all that.
`form` names how the data is laid out: "safetensors" (one file, one process) or another that its
owner writes and reads. `seal`, `sealed`, `newest_whole`, `prune` and `keep_for_good` know nothing
of the form and serve all of them: they work on directories.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.files import (
    atomic_path,
    flush_directory,
    list_files,
    read_json,
    sha256_file,
    sha256_text,
    write_json,
)
from openqwen.core.log import warn

TENSORS, FACTS = "state.safetensors", "state.json"
SAFETENSORS = "safetensors"  # the form of one process
_OWN_KEYS = ("step", "form", "files", "seal")

Usable = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Saved:
    """A checkpoint whose facts are there and unchanged; of its data nothing is known yet."""

    step: int
    path: Path
    facts: dict[str, Any]

    def problem(self) -> str:
        """Return what is wrong with the data files, "" where every byte is as written."""
        for name, expected in self.facts["files"].items():
            path = self.path / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size:,} bytes, not {expected['bytes']:,}"
            if sha256_file(path) != expected["sha256"]:
                return f"{name} has other bytes than when it was written"
        return ""


def save_checkpoint(
    directory: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, keep: int
) -> Path:
    """Write checkpoint `step` of one process, then remove all but the newest `keep`.

    Returns:
        Its folder.

    Raises:
        OSError, SafetensorError: if it can't be written; nothing of it is left, the others stay.
    """
    target = open_checkpoint(directory, step)
    try:
        with atomic_path(target / TENSORS) as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, temporary)
        seal(target, step, SAFETENSORS, facts)
    except BaseException:
        remove(target)
        raise
    prune(directory, keep=keep)
    return target


def load_newest(
    directory: Path, *, usable: Usable | None = None
) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return step, tensors and facts of the newest whole checkpoint; None where there is none.

    Args:
        directory: of the checkpoints.
        usable: told a checkpoint's facts, whether it may be taken; any may where None.

    Raises:
        UserError: if the newest whole one has a form that is not one process's.
    """
    found = newest_whole(directory, usable=usable)
    if found is None:
        return None
    if found.facts["form"] != SAFETENSORS:
        raise UserError(f"{found.path} is a checkpoint of the form {found.facts['form']!r}")
    return found.step, load_file(found.path / TENSORS), found.facts


def open_checkpoint(directory: Path, step: int) -> Path:
    """Return the empty folder that checkpoint `step` is to be written into."""
    target = directory / f"step-{step:08}"
    remove(target)
    target.mkdir(parents=True)
    return target


def file_facts(path: Path) -> dict[str, Any]:
    """Return the size and the hash of a data file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def seal(
    target: Path,
    step: int,
    form: str,
    facts: dict[str, Any],
    files: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write the facts of a folder whose data files are all there: now it is a checkpoint.

    Args:
        target: the folder.
        step: how many steps have been taken.
        form: how the data is laid out.
        facts: JSON that comes back with the checkpoint.
        files: name -> `file_facts`; every file there is where None.
    """
    assert not facts.keys() & set(_OWN_KEYS), "these facts are the checkpoint's own"
    if files is None:
        files = {p.relative_to(target).as_posix(): file_facts(p) for p in list_files(target)}
    content = {"step": step, "form": form, "files": files, **facts}
    write_json(target / FACTS, content | {"seal": _digest(content)})
    flush_directory(target.parent)


def sealed(directory: Path, *, tells: bool = False) -> Iterator[Saved]:
    """Yield the checkpoints of a directory, the newest first; those with damaged facts are passed.

    A folder without facts was being written or removed when the process ended: no checkpoint.

    Args:
        directory: of the checkpoints.
        tells: whether a line says of each that is passed.
    """
    for target in sorted(directory.glob("step-*"), reverse=True):
        if not (target / FACTS).is_file():
            continue
        try:
            content = read_json(target / FACTS)
            expected = content.pop("seal")
            if expected != _digest(content) or target.name != f"step-{content['step']:08}":
                raise UserError(f"{FACTS} has other values than when it was written")
            yield Saved(content["step"], target, content)
        except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            if tells:
                _tell(target, str(error))


def newest_whole(directory: Path, *, usable: Usable | None = None) -> Saved | None:
    """Return the newest checkpoint whose every byte is as written; each damaged one is told."""
    for saved in sealed(directory, tells=True):
        if usable is not None and not usable(saved.facts):
            continue
        try:
            problem = saved.problem()
        except OSError as error:
            problem = str(error)
        if not problem:
            return saved
        _tell(saved.path, problem)
    return None


def prune(directory: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what a killed process left half done."""
    folders = sorted(directory.glob("step-*"))
    whole = [folder for folder in folders if (folder / FACTS).is_file()]
    for folder in folders:
        if folder not in whole[-keep:]:
            remove(folder)


def remove(target: Path) -> None:
    """Remove a checkpoint, its facts first: half of it is never taken for a whole one."""
    (target / FACTS).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)


def keep_for_good(source: Path, directory: Path) -> Path:
    """Put a sealed checkpoint into another directory without copying where links are possible."""
    target = directory / source.name
    remove(target)
    for path in sorted(list_files(source), key=lambda p: p.name == FACTS):  # the facts last
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:  # another file system, or one without links
            with atomic_path(place) as temporary:
                shutil.copyfile(path, temporary)
    flush_directory(directory)
    return target


def keep_best(directory: Path, measure: str, best_is: str, *, every: int) -> None:
    """Leave of the checkpoints kept for good those that `every` divides and the best one.

    Args:
        directory: where they are.
        measure: key of the facts' `measures`; "" for none.
        best_is: "lowest" or "highest"; of equal ones the earliest is the best.
        every: steps; 0 for none.
    """
    found = list(sealed(directory))[::-1]
    measured = [s for s in found if measure in s.facts.get("measures", {})]
    sign = 1 if best_is == "lowest" else -1
    best = min(measured, key=lambda s: sign * s.facts["measures"][measure], default=None)
    for saved in found:
        if saved is not best and not (every and saved.step % every == 0):
            remove(saved.path)


def _digest(content: dict[str, Any]) -> str:
    return sha256_text(json.dumps(content, sort_keys=True, ensure_ascii=False))


def _tell(target: Path, problem: str) -> None:
    warn(f"{target.name} is damaged ({problem}); the checkpoint before it is used")
