"""A function in child processes that may hang, crash or eat memory without taking the run along.

    function = "openqwen.data.extraction.html:main_text"
    with Isolated(function, 1, cpu_s=10, memory_bytes=2**31) as pool:
        for page, answer in pool.map(pages, decode): ...

Broken pages do all three to HTML parsers. Time is the child's processor time, so a busy machine
loses no page; the kernel's timer ends the child, even inside compiled code. A child has the next
pages in its pipe while the caller works on the last ones.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from openqwen.data.extraction.isolated_child import (
    FAILED,
    FULL_SHARE,
    MEMORY,
    OK,
    READ_BYTES,
    READY,
    RENEW_CODE,
    frame,
    take_frames,
)

ItemT = TypeVar("ItemT")

MAX_WAITING = 64  # items a child has been given or that wait behind a slow one, for each child
MAX_WAITING_BYTES = 4 << 20  # of their text, for each child; two items wait whatever their size
PIPE_BYTES = 1 << 20  # what Linux lets anyone ask for; a pipe holds 64 KiB else
STDERR_BYTES = 4096  # of a dead child's last words

# an editable install is found through a hook that `-S` leaves out
_PACKAGE_ROOT = str(Path(__file__).parents[3])
_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from openqwen.data.extraction.isolated_child import serve; serve({arguments})"
)
_REASONS = {FAILED: "failed", MEMORY: "memory"}
_NO_MEMORY = ("bad_alloc", "MemoryError", "memory allocation", "out of memory", "allocate memory")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave nothing: reason is "timeout", "memory", "crash" or "failed"."""

    reason: str
    detail: str


@dataclass(eq=False, slots=True)
class _Job(Generic[ItemT]):
    """One item on its way; `call` is None where it passes by."""

    item: ItemT
    call: bytes | None
    answer: str | Failure | None = None
    is_done: bool = False


class Isolated:
    """A pool of child processes that run one function from text to text."""

    def __init__(self, function: str, num_workers: int, *, cpu_s: float, memory_bytes: int) -> None:
        """Start the children.

        Args:
            function: "module:name" of a function from str to str.
            num_workers: child processes, at least 1.
            cpu_s: processor time a call may take, in seconds.
            memory_bytes: address space of a child, in bytes.
        """
        arguments = (function, cpu_s, memory_bytes)
        self.children = [_Child(*arguments) for _ in range(num_workers)]

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the children."""
        for child in self.children:
            child.end()

    def map(
        self, items: Iterable[ItemT], text_of: Callable[[ItemT], str | None]
    ) -> Iterator[tuple[ItemT, str | Failure | None]]:
        """Yield each item, in order, with what the function made of its text.

        Items whose text is None pass by with the answer None. Items are taken ahead of what is
        yielded, as many as keep the children at work.
        """
        waiting: deque[_Job[ItemT]] = deque()
        num_bytes, source, is_over = 0, iter(items), False
        while True:
            while not is_over and self._has_room(len(waiting), num_bytes):
                try:
                    item = next(source)
                except StopIteration:
                    is_over = True
                    break
                job = self._begin(item, text_of(item))
                num_bytes += len(job.call or b"")
                waiting.append(job)
            if not waiting:
                return
            job = waiting.popleft()
            while not job.is_done:
                self._exchange()
            num_bytes -= len(job.call or b"")
            yield job.item, job.answer

    def _has_room(self, num_waiting: int, num_bytes: int) -> bool:
        children = len(self.children)
        if num_waiting < 2 * children:
            return True
        return num_waiting < MAX_WAITING * children and num_bytes < MAX_WAITING_BYTES * children

    def _begin(self, item: ItemT, text: str | None) -> _Job[ItemT]:
        """Give an item to the child that has least to do."""
        if text is None:
            return _Job(item, None, is_done=True)
        job = _Job(item, frame(OK, text.encode("utf-8", "surrogatepass")))
        min(self.children, key=lambda child: child.num_bytes).give(job)
        return job

    def _exchange(self) -> None:
        """Wait until a child can take or has given something, and pass it on."""
        poll = select.poll()
        reading = {child.answers: child for child in self.children if child.jobs}
        writing = {child.calls: child for child in self.children if child.unsent}
        for handle in reading:
            poll.register(handle, select.POLLIN)
        for handle in writing:
            poll.register(handle, select.POLLOUT)
        ready = [handle for handle, _ in poll.poll()]
        for handle in ready:  # answers first: a dead child's calls are not to be written
            if handle in reading:
                reading[handle].receive()
        for handle in ready:
            if handle in writing and writing[handle].calls == handle:
                writing[handle].send()


class _Child:
    """One child process, started anew when it dies, and our ends of its pipes."""

    def __init__(self, function: str, cpu_s: float, memory_bytes: int) -> None:
        self.arguments = (function, cpu_s, memory_bytes)
        self.jobs: deque[_Job[object]] = deque()  # given and not answered, in order
        self.inbox = bytearray()
        self.unsent: deque[memoryview] = deque()
        self._start()

    @property
    def num_bytes(self) -> int:
        """Return how much it has been given and not answered."""
        return sum(len(job.call or b"") for job in self.jobs)

    def give(self, job: "_Job[ItemT]") -> None:
        """Queue a job and pass on what its pipe takes at once."""
        assert job.call is not None, "only jobs with a call are given"
        self.jobs.append(job)  # type: ignore[arg-type]
        self.unsent.append(memoryview(job.call))
        self.send()

    def send(self) -> None:
        """Write what the pipe takes; a dead child is found when it must answer."""
        try:
            while self.unsent:
                written = os.write(self.calls, self.unsent[0])
                self.unsent[0] = self.unsent[0][written:]
                if not self.unsent[0]:
                    self.unsent.popleft()
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.unsent.clear()

    def receive(self) -> None:
        """Read answers; where the child has died, blame the job it was at and start another."""
        data = os.read(self.answers, READ_BYTES)
        self.inbox += data
        for kind, text in take_frames(self.inbox):
            if kind == READY:
                self.is_ready, self.peak_at_start = True, int(text)
                continue
            answer = text.decode("utf-8", "surrogatepass")
            self._finish(answer if kind == OK else Failure(_REASONS[kind], answer))
        if not data:
            self._replace()

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self._close()
        self.process.wait()

    def _finish(self, answer: str | Failure) -> None:
        job = self.jobs.popleft()
        job.answer, job.is_done = answer, True

    def _replace(self) -> None:
        failure = self._post_mortem()
        self._close()
        if failure is not None:
            self._finish(failure)
        self._start()
        self.unsent.extend(memoryview(job.call or b"") for job in self.jobs)
        self.send()

    def _post_mortem(self) -> Failure | None:
        """Return why the child died, None where it only asked for a fresh one.

        Raises:
            RuntimeError: it never started, so that no page is to blame.
        """
        _, status, usage = os.wait4(self.process.pid, 0)
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self.errors.seek(0)
        words = " ".join(self.errors.read(STDERR_BYTES).decode("utf-8", "replace").split())
        if code == RENEW_CODE and self.is_ready:
            return None
        if not self.is_ready:
            raise RuntimeError(f"{self.arguments[0]} did not start (code {code}): {words}")
        if code == -signal.SIGPROF:
            return Failure("timeout", f"took more than {self.arguments[1]:g} s of processor time")
        how = f"ended by code {code}; {words}".rstrip("; ")
        is_full = usage.ru_maxrss * 1024 > max(self.peak_at_start, FULL_SHARE * self.arguments[2])
        if is_full or code == -signal.SIGKILL or any(word in words for word in _NO_MEMORY):
            return Failure("memory", how)
        return Failure("crash", how)

    def _start(self) -> None:
        theirs_in, self.calls = os.pipe()
        self.answers, theirs_out = os.pipe()
        for handle in (self.calls, theirs_out):
            _widen(handle)
        os.set_blocking(self.calls, False)
        arguments = ", ".join(map(repr, (theirs_in, theirs_out, *self.arguments)))
        path = [_PACKAGE_ROOT, *sys.path]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the pipes
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _CHILD.format(path=path, arguments=arguments)],
            pass_fds=[theirs_in, theirs_out],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.is_ready, self.peak_at_start = False, 0
        self.inbox.clear()
        self.unsent.clear()

    def _close(self) -> None:
        os.close(self.calls)
        os.close(self.answers)
        self.errors.close()


def _widen(handle: int) -> None:
    """Let a pipe hold more, where the system allows it: small pages then never wait."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with contextlib.suppress(OSError):  # above the user's share of pipes
            fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
