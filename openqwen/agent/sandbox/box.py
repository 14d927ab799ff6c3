"""A sandbox for programs that live long, a Jupyter kernel say, with a folder seen from both sides.

    with open_sandbox(SandboxConfig(cpu_s=600), folder) as box:
        box.put({"data.csv": b"…"})
        kernel = box.start(["python", "-m", "ipykernel_launcher", "-f", f"{box.inside}/k.json"])
        box.met                      # the limit that ended it, or None
        box.take(["*.png"])          # files, links not followed

The folder is /work inside. Wall time and output are the caller's to bound; memory, processes,
files and their size are watched here as for every program.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from openqwen.agent.sandbox.bare import Bare, start_bare
from openqwen.agent.sandbox.check import require
from openqwen.agent.sandbox.config import Level, SandboxConfig
from openqwen.agent.sandbox.folder import hand_over, put_files, take_files
from openqwen.agent.sandbox.limits import is_root, pick_user
from openqwen.agent.sandbox.meter import MIB, Met, Meter
from openqwen.agent.sandbox.started import Started, Stream, start
from openqwen.agent.sandbox.view import WORK
from openqwen.core.errors import UserError

LOOK_S = 0.1
DEVNULL = subprocess.DEVNULL


class _Program(NamedTuple):
    """A program in a box and the thread that looks after it."""

    started: Started | Bare
    watcher: threading.Thread


class Box:
    """An open sandbox over a folder of the host.

    Attributes:
        folder: the folder, as the host names it.
        inside: the same folder, as programs inside name it.
        level: the isolation in force.
        met: the limit that ended a program here, None as long as none did.
    """

    def __init__(self, config: SandboxConfig, folder: Path) -> None:
        """Take the folder; as root it is given to the sandbox's user until `close`."""
        self.config = config
        self.folder = folder
        self.level: Level = config.level
        self.inside = str(folder) if config.level == "rlimits" else WORK
        self.met: Met | None = None
        self._user = pick_user() if is_root() and config.level != "rlimits" else None
        self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._programs: list[_Program] = []
        self._closing = threading.Event()
        if self._user is not None:
            hand_over(self._handle, self._user)

    def start(
        self,
        command: Sequence[str],
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = DEVNULL,
        stderr: Stream = DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a command inside, `python` being this Python; return the process to wait for.

        The thread that calls this must live as long as the program: it ends with that thread.
        All processes that the command starts end with it. Streams are as for Popen.

        Raises:
            UserError: if the sandbox can't be set up.
        """
        self._forget_ended()
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        started: Started | Bare
        if self.level == "rlimits":
            started = start_bare(command, self.config, folder=self.folder, **streams)
            meter = started.meter(self.config)
        else:
            folder = self.folder.absolute()
            started = start(command, self.config, folder=folder, user=self._user, **streams)
            meter = started.meter(self.config, on_host_disk=True)
        started.release()
        watcher = threading.Thread(target=self._watch, args=(started, meter), daemon=True)
        self._programs.append(_Program(started, watcher))
        watcher.start()
        return started.process

    def _forget_ended(self) -> None:
        """Close what is held of programs that have ended; their streams are the caller's."""
        for program in [p for p in self._programs if p.started.process.poll() is not None]:
            program.watcher.join()
            program.started.close(streams=False)
            self._programs.remove(program)

    def _watch(self, started: Started | Bare, meter: Meter) -> None:
        """Look at a program's use until it ends or the box closes; end it where it is too much."""
        while started.process.poll() is None and not self._closing.wait(LOOK_S):
            try:
                met = meter.met()
            except Exception as error:  # what can't be watched may not run
                met = Met("files", f"its use can't be read: {error}")
            if met:
                self.met = met
                started.kill()
                return

    def interrupt(self) -> None:
        """Send SIGINT to the program started last, as Ctrl-C would."""
        if self._programs:
            self._programs[-1].started.interrupt()

    def kill(self) -> None:
        """End all programs inside; others may be started afterwards."""
        for program in self._programs:
            program.started.kill()

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files into the folder, owned by the sandbox's user; links are not followed."""
        put_files(self._handle, files, self._user)

    def take(self, patterns: Sequence[str] = ("*",)) -> dict[str, bytes]:
        """Return the folder's regular files that match a pattern, by relative name.

        Use this, not `Path.read_bytes`: what a program left may be a link to a file of yours.
        """
        most, bound = self.config.disk_mb * MIB, self.config.max_files
        return take_files(self._handle, patterns, max_bytes=most, max_files=bound)

    def close(self) -> None:
        """End all programs and give the folder back."""
        self._closing.set()
        for program in self._programs:
            program.watcher.join()
            program.started.close()
        self._programs.clear()
        if self._user is not None:
            with contextlib.suppress(OSError):
                hand_over(self._handle, os.geteuid())
        os.close(self._handle)


@contextlib.contextmanager
def open_sandbox(config: SandboxConfig | None = None, *, folder: Path) -> Iterator[Box]:
    """Open a sandbox whose writable /work is `folder`, an existing folder of the host.

    Args:
        config: limits and level; None takes the defaults.
        folder: preferably new and empty; as root it belongs to the sandbox's user meanwhile.

    Raises:
        UserError: if this machine can't isolate as asked, or there is no such folder.
    """
    config = config or SandboxConfig()
    require(config.level)
    if not folder.is_dir():
        raise UserError(f"the sandbox's folder {folder} does not exist")
    box = Box(config, folder)
    try:
        yield box
    finally:
        box.close()
