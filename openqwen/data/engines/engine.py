"""Phases of tasks on an engine: processes of this machine, or a Ray cluster, with the same bytes.

    with open_engine(EngineConfig(name="ray")) as engine:
        done = run_phase(engine, work, "extract", [Task("00000", "module:function", {...}), ...])
    done[0].result["pages"], done[0].folder / "documents.parquet"

A task writes files into a folder of its own and returns a few numbers. It is done when `done.json`
is there: a run that was stopped takes up with the tasks that are not, and a worker that is killed
costs its task's time only. Tasks know nothing of each other, of the engine or of their number.
"""

import contextlib
import importlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openqwen.core.errors import UserError
from openqwen.core.files import list_files, read_json, write_json
from openqwen.core.log import Progress
from openqwen.core.runtime import give_memory_back, peak_memory_bytes, reset_peak_memory
from openqwen.data.engines.config import EngineConfig

DONE_NAME = "done.json"


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: `function(folder, **arguments)`, run somewhere, once or again.

    Attributes:
        name: unique in its phase; names the task's folder.
        function: "module:name"; it writes below the folder it is given and returns JSON values.
        arguments: what else the function takes; picklable.
    """

    name: str
    function: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A finished task: its folder, what its function returned, what its worker took of memory."""

    name: str
    folder: Path
    result: dict[str, Any]
    peak_memory_bytes: int = 0


class Engine(Protocol):
    """What runs tasks; see `LocalEngine` and `RayEngine`."""

    num_workers: int

    def run(self, tasks: Sequence[tuple[Task, Path]]) -> Iterator[str]:
        """Run each task in its folder; yield their names as they finish, in any order.

        Raises:
            UserError: what a task raised, or that its worker died too often.
        """


def open_engine(config: EngineConfig) -> contextlib.AbstractContextManager[Engine]:
    """Return the engine that the settings name, ready in a `with` block.

    Raises:
        UserError: if Ray is asked for and missing, or its cluster can't be reached.
    """
    if config.name == "ray":
        from openqwen.data.engines.ray_cluster import RayEngine

        return RayEngine(config)
    from openqwen.data.engines.local import LocalEngine

    return LocalEngine(config)


def run_phase(
    engine: Engine, work: Path, phase: str, tasks: Sequence[Task], *, label: str = "documents"
) -> list[Done]:
    """Run the tasks of a phase that are not done yet; return all of them in the order given.

    Args:
        engine: where they run.
        work: folder of this work; the phase gets a folder in it, every task one in that.
        phase: name of the phase.
        tasks: any number; their names differ.
        label: opens the progress line.

    Raises:
        UserError: what a task raised; the finished ones stay done.
    """
    assert len({task.name for task in tasks}) == len(tasks), f"{phase}: two tasks share a name"
    folders = {task.name: work / phase / task.name for task in tasks}
    waiting = [(t, folders[t.name]) for t in tasks if read_done(folders[t.name]) is None]
    progress = Progress(
        f"{label} {phase}", total=len(tasks), unit="parts", done=len(tasks) - len(waiting)
    )
    if waiting:
        for _ in engine.run(waiting):
            progress.advance()
        progress.close()
    finished = []
    for task in tasks:
        done = read_done(folders[task.name])
        if done is None:
            raise UserError(
                f"{folders[task.name]} was finished but can't be read here; workers and this "
                "process must share the output directory"
            )
        finished.append(done)
    return finished


def perform(task: Task, folder: Path) -> None:
    """Run one task in its folder: what every worker of every engine does."""
    shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left
    folder.mkdir(parents=True)
    module, _, name = task.function.partition(":")
    function: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    give_memory_back()  # of the task before
    reset_peak_memory()
    started = time.monotonic()
    result = function(folder, **task.arguments)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in list_files(folder)}
    facts = {"result": result, "files": sizes, "peak_memory_bytes": peak_memory_bytes()}
    facts["seconds"] = round(time.monotonic() - started, 3)
    write_json(folder / DONE_NAME, facts)


def read_done(folder: Path) -> Done | None:
    """Return a finished task; None where it isn't finished or a file is damaged."""
    if not (folder / DONE_NAME).is_file():
        return None
    facts = read_json(folder / DONE_NAME)
    for name, size in facts["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return None
    return Done(folder.name, folder, facts["result"], facts["peak_memory_bytes"])


def phase_facts(work: Path) -> dict[str, dict[str, float]]:
    """Return what each phase of a finished work took: its tasks, their seconds, files and memory.

    Args:
        work: folder that `run_phase` was given.
    """
    rows: dict[str, dict[str, float]] = {}
    for path in sorted(work.glob(f"*/*/{DONE_NAME}")):
        facts = read_json(path)
        row = rows.setdefault(
            path.parents[1].name, {"tasks": 0, "seconds": 0.0, "bytes": 0, "peak_memory_bytes": 0}
        )
        row["tasks"] += 1
        row["seconds"] = round(row["seconds"] + facts["seconds"], 3)
        row["bytes"] += sum(facts["files"].values())
        row["peak_memory_bytes"] = max(row["peak_memory_bytes"], facts["peak_memory_bytes"])
    return rows
