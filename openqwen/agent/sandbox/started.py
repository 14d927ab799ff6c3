"""One program in a sandbox: set up, held at the door until its files are in, released, ended.

    with start(["python", "a.py"], config, stdout=PIPE, stderr=PIPE) as started:
        put_files(started.work, {"a.py": b"print(1)"}, started.user)
        started.release()

Bubblewrap stops before it starts the program. Until then nobody but us is inside: files are laid
into /work and folders opened through /proc/PID/root. What is opened stays open after all is over.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from openqwen.agent.sandbox.bubblewrap import find_bubblewrap
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.limits import is_root, limit_arguments, pick_user, process_arguments
from openqwen.agent.sandbox.meter import Meter
from openqwen.agent.sandbox.view import WORK, variables, view_arguments
from openqwen.core.errors import UserError

SETUP_S = 20.0  # for bubblewrap on a loaded machine; it takes a few milliseconds
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.0002, 0.01
END_S = 10.0  # for the kernel to end all processes of the sandbox

MEMORY_FOLDERS = ("tmp", "dev/shm")  # beside /work

Stream = int | IO[bytes] | None


class Started:
    """A program in namespaces of its own, with handles on its folders and its first process."""

    def __init__(
        self, process: subprocess.Popen[bytes], user: int | None, status: int, gate: int
    ) -> None:
        """Take a bubblewrap just started and our ends of its pipes; `open_inside` completes it."""
        self.process = process
        self.user = user
        self.first_pid = 0
        self.first = -1  # a pidfd of the first process: with it all others end
        self.work = -1
        self.proc = -1
        self.others: list[int] = []
        self._status = status
        self._gate = gate

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End whatever still runs and close everything."""
        self.close()

    def open_inside(self, marker: str) -> None:
        """Wait until the view is set up, then open its /work and /proc.

        Raises:
            TimeoutError: if that does not happen.
            OSError: if bubblewrap ended instead.
        """
        deadline = time.monotonic() + SETUP_S
        self.first_pid = int(_read_line(self._status, deadline)["child-pid"])
        self.first = os.pidfd_open(self.first_pid)
        with contextlib.suppress(OSError):  # where memory runs out, the sandbox goes before others
            Path(f"/proc/{self.first_pid}/oom_score_adj").write_text("1000")
        pause = FIRST_PAUSE_S
        while True:
            with contextlib.suppress(OSError):
                root = os.open(f"/proc/{self.first_pid}/root", os.O_PATH | os.O_DIRECTORY)
                try:
                    os.stat(marker, dir_fd=root, follow_symlinks=False)
                    folder = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                    self.work = os.open(WORK.strip("/"), folder, dir_fd=root)
                    self.proc = os.open("proc", folder, dir_fd=root)
                    self.others = [os.open(n, folder, dir_fd=root) for n in MEMORY_FOLDERS]
                    return
                finally:
                    os.close(root)
            if self.process.poll() is not None:
                raise OSError("bubblewrap ended early")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no sandbox after {SETUP_S:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def release(self) -> None:
        """Let the program start."""
        os.write(self._gate, b"1")
        os.close(self._gate)
        self._gate = -1

    def meter(self, config: SandboxConfig, *, on_host_disk: bool = False) -> Meter:
        """Return a meter of this sandbox; `on_host_disk` where /work is a folder of the host."""
        return Meter(config, self.proc, self.work, others=self.others, on_host_disk=on_host_disk)

    def exit_code(self) -> int | None:
        """Return what the program itself ended with (128 + n after signal n), None if killed."""
        text = b""
        while part := os.read(self._status, 4096):
            text += part
        answers = [json.loads(line) for line in text.splitlines()]
        codes = [int(answer["exit-code"]) for answer in answers if "exit-code" in answer]
        return codes[-1] if codes else None

    def interrupt(self) -> None:
        """Send SIGINT to the program, as Ctrl-C would."""
        with contextlib.suppress(OSError):
            path = Path(f"/proc/{self.first_pid}/task/{self.first_pid}/children")
            for pid in path.read_text().split()[:1]:
                os.kill(int(pid), signal.SIGINT)

    def kill(self) -> None:
        """End all processes of the sandbox and wait for their end."""
        if self.first >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
            _wait_readable(self.first, END_S)
            with contextlib.suppress(ChildProcessError):  # ours only where we are process 1
                os.waitpid(self.first_pid, os.WNOHANG)
        elif self.process.poll() is None:
            self.process.kill()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self, *, streams: bool = True) -> None:
        """End whatever still runs and close all handles, the program's streams only if asked."""
        self.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if streams and stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        handles = (self.first, self.work, self.proc, self._gate, self._status, *self.others)
        for handle in handles:
            if handle >= 0:
                os.close(handle)
        self.first = self.work = self.proc = self._gate = self._status = -1
        self.others = []


def start(
    command: Sequence[str],
    config: SandboxConfig,
    *,
    folder: Path | None = None,
    user: int | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = subprocess.DEVNULL,
) -> Started:
    """Set a sandbox up for a command and stop before it runs; `release` lets it.

    Args:
        command: as seen from inside; `python` is this Python.
        config: limits, and the level, which must be one with namespaces.
        folder: a folder of the host to be /work.
        user: the user id to run as, where root starts it; drawn if not named.
        stdin: as for Popen; so `stdout` and `stderr`.

    Raises:
        UserError: if the sandbox can't be set up, with what bubblewrap said.
    """
    if is_root() and user is None:
        user = pick_user()
    marker = f"view-{uuid.uuid4().hex}"
    arguments, inside = view_arguments(config, user=user, folder=folder, marker=marker)
    argv = [*limit_arguments(config), str(find_bubblewrap()), *arguments]
    bounded = [*process_arguments(config, as_user=user), *command]
    started = _spawn(argv, inside, bounded, user, (stdin, stdout, stderr))
    try:
        started.open_inside(marker)
        if folder is None and user is not None:
            os.fchown(started.work, user, user)
    except (OSError, ValueError) as error:
        said = _complaint(started)
        started.close()
        raise UserError(f"the sandbox could not be set up: {said or error}") from None
    except BaseException:
        started.close()
        raise
    return started


def hearing_interrupts() -> list[str]:
    """Return what makes a child hear SIGINT where this process ignores it, as behind `&`."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        return []
    return ["/usr/bin/env", "--default-signal=INT"]


def _spawn(
    argv: Sequence[str],
    inside: list[int],
    command: Sequence[str],
    user: int | None,
    streams: tuple[Stream, Stream, Stream],
) -> Started:
    """Start bubblewrap; the descriptors `inside`, which `argv` names, are closed here."""
    status, status_inside = os.pipe()
    gate_inside, gate = os.pipe()
    inside += [status_inside, gate_inside]
    gates = ["--block-fd", str(gate_inside), "--json-status-fd", str(status_inside)]
    try:
        process = subprocess.Popen(
            [*hearing_interrupts(), *argv, *gates, "--", *command],
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            env=variables(),
            pass_fds=inside,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for us to handle
        )
    except BaseException:
        os.close(status)
        os.close(gate)
        raise
    finally:
        for handle in inside:
            os.close(handle)
    return Started(process, user, status, gate)


def _complaint(started: Started) -> str:
    """Return the last line that a failed bubblewrap wrote to standard error."""
    started.kill()
    process = started.process
    text = process.stderr.read(4096).decode(errors="replace") if process.stderr else ""
    lines: list[str] = text.strip().splitlines()
    return lines[-1] if lines else ""


def _wait_readable(handle: int, seconds: float) -> bool:
    """Wait until there is something to read, a pidfd's process has ended say; False if not."""
    poll = select.poll()  # select() would refuse descriptors from 1024 on
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(1000 * max(0.0, seconds)))


def _read_line(handle: int, deadline: float) -> dict[str, Any]:
    """Return the JSON object on the first line that bubblewrap writes about itself."""
    line = b""
    while not line.endswith(b"\n"):
        ready = _wait_readable(handle, deadline - time.monotonic())
        part = os.read(handle, 4096) if ready else b""
        if not part:
            raise OSError("bubblewrap ended early" if ready else "bubblewrap does not answer")
        line += part
    facts: dict[str, Any] = json.loads(line.splitlines()[0])
    return facts
