"""A function in child processes that may hang, crash or eat memory without taking the run along.

    with Isolated("openqwen.data.html:main_text", 2, cpu_s=10, memory_bytes=2**32) as pool:
        for page, answer in pool.map(pages, decode): ...

Broken pages do all three to HTML parsers. Time is the child's processor time, so a busy machine
loses no page; the kernel's timer ends the child, even inside compiled code.
"""

import contextlib
import importlib
import resource
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Self, TypeVar

ItemT = TypeVar("ItemT")

MAX_WAITING = 64  # items kept back behind a slow one

_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from openqwen.data.isolate import serve; serve({arguments})"
)
_OK, _FAILED = b"+", b"-"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave nothing: reason is "timeout", "crash" or "failed"."""

    reason: str
    detail: str


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
        self.arguments = (function, cpu_s, memory_bytes)
        self.idle = deque(_Worker(*self.arguments) for _ in range(num_workers))
        self.all = set(self.idle)

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
        for worker in self.all:
            worker.end()

    def map(
        self, items: Iterable[ItemT], text_of: Callable[[ItemT], str | None]
    ) -> Iterator[tuple[ItemT, str | Failure | None]]:
        """Yield each item, in order, with what the function made of its text.

        Items whose text is None pass by with the answer None.
        """
        running: deque[tuple[ItemT, _Worker | None]] = deque()
        for item in items:
            text = text_of(item)
            must_wait = text is not None and not self.idle
            while running and (running[0][1] is None or must_wait or len(running) >= MAX_WAITING):
                yield self._finish(*running.popleft())
                must_wait = text is not None and not self.idle
            worker = None
            if text is not None:
                worker = self.idle.popleft()
                worker.send(text)
            running.append((item, worker))
        while running:
            yield self._finish(*running.popleft())

    def _finish(self, item: ItemT, worker: "_Worker | None") -> tuple[ItemT, str | Failure | None]:
        if worker is None:
            return item, None
        answer = worker.receive()
        if not worker.is_alive:
            self.all.remove(worker)
            worker = _Worker(*self.arguments)
            self.all.add(worker)
        self.idle.append(worker)
        return item, answer


class _Worker:
    """One child process and our end of its pipe."""

    def __init__(self, function: str, cpu_s: float, memory_bytes: int) -> None:
        self.pipe, theirs = Pipe()
        handle = theirs.fileno()
        arguments = f"{handle}, {function!r}, {cpu_s}, {memory_bytes}"
        code = _CHILD.format(path=sys.path, arguments=arguments)
        self.process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[handle])
        theirs.close()
        self.is_alive = True

    def send(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead child is found when its answer is read
            self.pipe.send_bytes(text.encode("utf-8", "surrogatepass"))

    def receive(self) -> str | Failure:
        try:
            answer = self.pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            self.is_alive = False
            code = self.process.wait()
            self.pipe.close()
            if code == -signal.SIGPROF:
                return Failure("timeout", "took more processor time than allowed")
            return Failure("crash", f"the parser's process ended with code {code}")
        text = answer[1:].decode("utf-8", "surrogatepass")
        return text if answer[:1] == _OK else Failure("failed", text)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def serve(handle: int, function: str, cpu_s: float, memory_bytes: int) -> None:
    """Answer calls over a pipe until it closes: what a child process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with contextlib.suppress(ValueError, OSError):  # a system that can't limit goes without
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, _, name = function.partition(":")
    run: Callable[[str], str] = getattr(importlib.import_module(module), name)
    pipe = Connection(handle)
    while True:
        try:
            text = pipe.recv_bytes().decode("utf-8", "surrogatepass")
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            answer = _OK + run(text).encode("utf-8", "surrogatepass")
        except Exception as error:  # whatever a page provokes is that page's failure alone
            answer = _FAILED + f"{type(error).__name__}: {error}".encode("utf-8", "replace")
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(answer)
