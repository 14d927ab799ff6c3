"""The code interpreter: a stateful Python session that runs only inside the sandbox.

    with Interpreter(InterpreterConfig(call_timeout_s=10), files={"data.csv": data}) as python:
        python.run("import pandas as pd; table = pd.read_csv('data.csv')")
        result = python.run("table.plot(); len(table)")
        result.value, result.images, result.text(2000)

A cell that is stuck is interrupted; one that doesn't listen costs the session its variables, and
the result says so. Where the machine can't isolate, opening raises `UserError` (docs/sandbox.md).
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openqwen.agent.interpreter.collect import Collector
from openqwen.agent.interpreter.config import InterpreterConfig
from openqwen.agent.interpreter.folder import list_inside, read_inside, write_inside
from openqwen.agent.interpreter.kernel import Ending, Kernel
from openqwen.agent.interpreter.result import RunResult, Status
from openqwen.agent.sandbox.folder import own_folder
from openqwen.core.errors import UserError


class Interpreter:
    """A Python session; used by one thread at a time.

    Attributes:
        level: the isolation in force; "" before the session is open.
        calls: calls so far.
        seconds: that calls ran so far.
    """

    def __init__(
        self,
        config: InterpreterConfig | None = None,
        *,
        files: Mapping[str, bytes] | None = None,
        startup: str = "",
    ) -> None:
        """Set up a session; entering it starts the kernel.

        Args:
            config: limits.
            files: name -> content of files that lie in the working directory from the beginning.
            startup: trusted code that runs at every start, before anything else.
        """
        self.config = config or InterpreterConfig()
        self._files, self._startup = dict(files or {}), startup
        self._open = contextlib.ExitStack()
        self._kernel: Kernel | None = None
        self._box: Any = None
        self._folder = self._sockets = Path()
        self._is_lost = False  # what the code left behind keeps a kernel from starting
        self.level, self.calls, self.seconds = "", 0, 0.0

    def __enter__(self) -> Self:
        """Open the sandbox and start the kernel.

        Raises:
            UserError: if the machine can't isolate or a package is missing.
        """
        from openqwen.agent.sandbox.run import open_sandbox

        try:
            # short: a Unix socket's path has at most 107 bytes
            self._folder = self._open.enter_context(own_folder("oq-", Path("/tmp")))
            self._sockets = self._folder.with_name("s")
            self._sockets.mkdir(mode=0o700)
            self._box = self._open.enter_context(
                open_sandbox(self.config.sandbox(), folder=self._folder)
            )
            self.level = str(self._box.level)
            for name, data in self._files.items():
                self.put(name, data)
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def kill(self) -> None:
        """Kill the session's processes, from any thread; a call under way ends as `died`."""
        if self._box is not None:
            self._box.kill()

    def close(self) -> None:
        """End the session: its processes and files are gone."""
        if self._kernel is not None:
            self._kernel.stop()
            self._kernel = None
        self._open.close()

    def run(self, code: str, *, timeout_s: float | None = None) -> RunResult:
        """Run code in the session and return what came of it; never raises for what the code does.

        Args:
            code: Python, with IPython's magics.
            timeout_s: for this call, in place of the settings' `call_timeout_s`.

        Raises:
            UserError: if the session is not open.
        """
        if self._kernel is None:
            if self._is_lost:
                return RunResult("limit")
            raise UserError("the interpreter is not open: use it in a with-block")
        left_s = self.config.total_timeout_s - self.seconds
        if self.calls >= self.config.max_calls or left_s <= 0:
            return RunResult("limit")
        self.calls += 1
        before = list_inside(self._folder)
        collector, begin = Collector(self.config), time.monotonic()
        deadline = begin + min(timeout_s or self.config.call_timeout_s, left_s)
        ending = self._kernel.execute(code, collector, deadline)
        seconds = time.monotonic() - begin
        self.seconds += seconds
        status = self._status(ending, collector, is_late=time.monotonic() > deadline)
        restarted = ending in ("lost", "died")
        if restarted:
            self._restart_or_end()
        return RunResult(
            status,
            stdout=collector.get("stdout") or "",
            stderr=collector.get("stderr") or "",
            value=collector.get("value"),
            error=collector.get("error"),
            images=tuple(collector.images),
            records=tuple(collector.records),
            files=self._changed(before),
            dropped=tuple(collector.dropped),
            restarted=restarted,
            seconds=seconds,
        )

    def restart(self) -> None:
        """Start the kernel anew: variables are gone, files stay."""
        if self._kernel is not None:
            self._kernel.stop()
        self._box.met = None
        self._start()

    def _restart_or_end(self) -> None:
        try:
            self.restart()
        except (UserError, OSError):
            if self._kernel is not None:
                self._kernel.stop()
            self._kernel, self._is_lost = None, True

    def put(self, name: str, data: bytes) -> None:
        """Write a file into the session's working directory.

        Raises:
            UserError: if the name leads out of it.
        """
        write_inside(self._folder, name, data)

    def get(self, name: str) -> bytes:
        """Return a file of the working directory; links are not followed.

        Raises:
            UserError: if there is no such file or it is too large.
        """
        return read_inside(self._folder, name, self.config.max_file_bytes)

    def files(self) -> dict[str, int]:
        """Return name -> bytes of the plain files in the working directory."""
        return {name: size for name, (size, _) in list_inside(self._folder).items()}

    def _start(self) -> None:
        self._kernel = Kernel(self._box, self._folder, self._sockets, self.config)
        if self._startup:
            collector = Collector(self.config)
            limit_s = self.config.start_timeout_s
            ending = self._kernel.execute(self._startup, collector, time.monotonic() + limit_s)
            if ending != "ok":
                why = (collector.get("error") or ending).strip().splitlines()[-1]
                raise UserError(f"the interpreter's startup code failed: {why}")

    def _status(self, ending: Ending, collector: Collector, *, is_late: bool) -> Status:
        """Return how a call ended, from how its kernel ended it."""
        if ending == "died":
            return (
                "memory"
                if self._box.met is not None and self._box.met.status == "memory"
                else "died"
            )
        if ending == "lost":
            return "timeout" if is_late else "output"
        return ending

    def _changed(self, before: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        after = list_inside(self._folder)
        changed = {name: found[0] for name, found in after.items() if before.get(name) != found}
        return dict(list(changed.items())[: self.config.max_files])
