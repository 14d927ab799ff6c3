"""The level `rlimits`: a program under the kernel's limits, in a folder of its own, not isolated.

It sees the user's files and the network and may do whatever the user may. Only for programs that
one would run anyway, on a machine that can't isolate; a process that leaves the session survives.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.folder import remove_tree
from openqwen.agent.sandbox.limits import limit_arguments, process_arguments
from openqwen.agent.sandbox.meter import Meter
from openqwen.agent.sandbox.view import variables

END_S = 10.0
Stream = int | IO[bytes] | None


class Bare:
    """A program in a temporary folder, or in one of the host, under limits alone."""

    user = None

    def __init__(
        self,
        command: Sequence[str],
        config: SandboxConfig,
        folder: Path | None,
        streams: dict[str, Stream],
    ) -> None:
        """Make the folder; `release` starts the program."""
        self.command = [sys.executable, *command[1:]] if command[0] == "python" else list(command)
        self.config = config
        self.made = Path(tempfile.mkdtemp(prefix="sandbox-")) if folder is None else None
        self.folder = folder or self.made or Path()
        self.work = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        self.streams = streams
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the program and remove the folder."""
        self.close()

    def release(self) -> None:
        """Start the program."""
        self.process = subprocess.Popen(
            [
                *limit_arguments(self.config),
                *process_arguments(self.config, as_user=None),
                *self.command,
            ],
            stdin=self.streams["stdin"],
            stdout=self.streams["stdout"],
            stderr=self.streams["stderr"],
            cwd=self.folder,
            env=variables(home=str(self.folder), python=sys.executable),
            start_new_session=True,
        )

    def meter(self, config: SandboxConfig) -> Meter:
        """Return a meter of the program and its descendants."""
        return _TreeMeter(config, self)

    def exit_code(self) -> int | None:
        """Return what the program ended with (128 + n after signal n)."""
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def interrupt(self) -> None:
        """Send SIGINT to the program."""
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the program's session, and its descendants as far as they can be found."""
        if self.process.returncode is not None:  # its number may be another's by now
            return
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(END_S)

    def close(self, *, streams: bool = True) -> None:
        """End whatever still runs; close, the program's streams only if asked, and remove."""
        if hasattr(self, "process"):
            if self.process.poll() is None:
                self.kill()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if streams and stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        os.close(self.work)
        if self.made is not None:
            remove_tree(self.made)


class _TreeMeter(Meter):
    """Counts a process and its descendants instead of a namespace."""

    own_tasks = 0

    def __init__(self, config: SandboxConfig, bare: Bare) -> None:
        """Take the program to be; it may not have started yet."""
        self.bare = bare
        super().__init__(config, -1, bare.work, on_host_disk=True)

    def _pids(self) -> list[str]:
        """Return the program and its descendants."""
        first = self.bare.process.pid
        return [str(pid) for pid in (first, *descendants(first))]

    def _read(self, name: str) -> str:
        """Return a file of the machine's /proc, empty if the process is gone."""
        try:
            return Path("/proc", name).read_text(errors="replace")
        except OSError:
            return ""


def descendants(pid: int) -> list[int]:
    """Return the processes below one, as far as the links from parent to child lead."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def start_bare(
    command: Sequence[str],
    config: SandboxConfig,
    *,
    folder: Path | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = subprocess.DEVNULL,
) -> Bare:
    """Make a folder for a command; `release` starts it. Arguments as for `started.start`."""
    streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    return Bare(command, config, folder, streams)
