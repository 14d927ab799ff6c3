"""The engine of one machine: a process a worker, each given one task after the other.

A worker that is killed (by the system's memory guard, say) is replaced and its task begun again.
Own code in place of `concurrent.futures`, whose pool is lost as a whole with one of its processes
and can't tell which task was in it.
"""

import contextlib
import ctypes
import signal
import subprocess
import sys
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.core.runtime import child_environment, count_processors
from openqwen.data.engines.config import EngineConfig
from openqwen.data.engines.engine import Task, perform

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from openqwen.data.engines.local import serve; serve({handle})"
)
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class LocalEngine:
    """Worker processes of this machine; one of them where there is one task."""

    def __init__(self, config: EngineConfig) -> None:
        """Take the settings; processes start with the first tasks."""
        self.num_workers = config.num_workers or count_processors()
        self.max_attempts = config.max_attempts
        self.workers: list[_Worker] = []

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.end()
        self.workers.clear()

    def run(self, tasks: Sequence[tuple[Task, Path]]) -> Iterator[str]:
        """Run tasks; see `Engine.run`."""
        waiting = deque(tasks)
        attempts: Counter[str] = Counter()
        while len(self.workers) < min(self.num_workers, len(waiting)):
            self.workers.append(_Worker())
        idle = deque(self.workers)
        busy: dict[Connection, _Worker] = {}
        while waiting or busy:
            while waiting and idle:
                worker = idle.popleft()
                worker.begin(*waiting.popleft())
                busy[worker.pipe] = worker
            for pipe in wait(list(busy)):
                worker = busy.pop(pipe)  # type: ignore[call-overload]
                assert worker.given is not None, "a busy worker has a task"
                task, folder = worker.given
                answer = worker.answer()
                if answer is None:
                    attempts[task.name] += 1
                    self._replace(worker, task, attempts[task.name])
                    waiting.appendleft((task, folder))
                    idle.append(self.workers[-1])
                    continue
                idle.append(worker)
                if answer:
                    raise answer[0]
                yield task.name

    def _replace(self, worker: "_Worker", task: Task, attempts: int) -> None:
        """Put a new process in a dead one's place, unless its task killed too many."""
        self.workers.remove(worker)
        code = worker.process.wait()
        died = f"signal {-code}" if code < 0 else f"exit code {code}"
        what = f"the worker of {task.function.partition(':')[2]} {task.name} was ended by {died}"
        if attempts >= self.max_attempts:
            raise UserError(
                f"{what}, {attempts} times; if memory is short, lower documents.partition_bytes "
                "or documents.engine.num_workers (the same command goes on from here)"
            )
        warn(f"{what}; this part is begun again")
        self.workers.append(_Worker())


class TaskError(RuntimeError):
    """A defect of ours that showed in a worker; the message holds its traceback."""


class _Worker:
    """One process and our end of its pipe."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        code = _CHILD.format(path=sys.path, handle=theirs.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            env=child_environment(**_ONE_THREAD),
        )
        theirs.close()
        self.given: tuple[Task, Path] | None = None

    def begin(self, task: Task, folder: Path) -> None:
        self.given = (task, folder)
        with contextlib.suppress(BrokenPipeError):  # a dead process is found when it must answer
            self.pipe.send(self.given)

    def answer(self) -> tuple[Exception, ...] | None:
        """Return () for a finished task, what it raised, or None where the process is dead."""
        try:
            error: Exception | None = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.pipe.close()
            return None
        return () if error is None else (error,)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def serve(handle: int) -> None:
    """Perform tasks from a pipe until it closes: what a worker process does."""
    end_with_parent()
    pipe = Connection(handle)
    while True:
        try:
            task, folder = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        error: Exception | None = None
        try:
            perform(task, folder)
        except (UserError, OSError) as known:
            error = known
        except KeyboardInterrupt:
            return
        except Exception:
            error = TaskError(f"{task.function} {task.name}:\n{traceback.format_exc()}")
        pipe.send(error)


def end_with_parent() -> None:
    """Let the system end this process when its parent ends, however that happens (Linux).

    Else a worker would go on writing where the next attempt of the run begins.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
