"""From what was seen of a program to its verdict.

A limit that we kept is known. Limits and refusals of the kernel show as errors in the program:
where it ends by one, uncaught, the last line of its traceback names it.
"""

import re
import signal

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.meter import Met
from openqwen.agent.sandbox.verdict import Status, Verdict
from openqwen.agent.sandbox.watch import Seen

SIGNAL_BASE = 128  # a shell's way: 128 + n after signal n
LAST_LINE_BYTES = 4096
BY_SIGNAL: dict[int, tuple[Status, str]] = {
    signal.SIGXCPU: ("timeout", "used more processor time than the limit"),
    signal.SIGXFSZ: ("files", "a file larger than the limit"),
    signal.SIGSYS: ("blocked", "a system call that the filter refuses"),
}
BY_LAST_LINE: tuple[tuple[str, Status], ...] = (
    (r"^MemoryError\b|\[Errno 12\]|^numpy\S*MemoryError", "memory"),
    (r"\[Errno 11\]|can't start new thread|\bfork: (retry: )?Resource temporarily", "processes"),
    (r"\[Errno (27|28|122)\]|No space left on device", "files"),
    (r"\[Errno (1|13|30|38|95|101)\]|Operation not permitted|Read-only file", "blocked"),
    (r"^socket\.gaierror\b", "blocked"),
)
"""Errors by number: 12 no memory; 11 no more processes; 27 file too large, 28 no space, 122 quota;
1 and 13 not permitted, 30 read-only, 38 no such call, 95 no such kind of socket, 101 no network."""


def judge(seen: Seen, config: SandboxConfig, seconds: float) -> Verdict:
    """Return the verdict on a program."""
    status, reason = _judge(seen, config)
    code = seen.exit_code
    number = code - SIGNAL_BASE if code is not None and _is_signal(code) else None
    return Verdict(
        status=status,
        exit_code=None if number else code,
        signal=int(signal.SIGKILL) if seen.met else number,
        stdout=seen.stdout.decode("utf-8", "replace"),
        stderr=seen.stderr.decode("utf-8", "replace"),
        seconds=seconds,
        level=config.level,
        reason=reason,
    )


def _judge(seen: Seen, config: SandboxConfig) -> Met:
    """Return status and reason."""
    if seen.met:
        return seen.met
    code = seen.exit_code
    if code == 0:
        return Met("ok", "")
    if code is None:
        return Met("crashed", "all its processes were ended from within or outside")
    if _is_signal(code):
        number = code - SIGNAL_BASE
        return Met(*BY_SIGNAL.get(number, ("crashed", f"ended by {_signal_name(number)}")))
    last = _last_line(seen.stderr)
    for pattern, status in BY_LAST_LINE:
        if re.search(pattern, last):
            return Met(status, last)
    return Met("error", last or f"exit status {code}")


def _is_signal(code: int) -> bool:
    """Return whether an exit status stands for a signal."""
    return SIGNAL_BASE < code <= SIGNAL_BASE + signal.SIGRTMAX


def _signal_name(number: int) -> str:
    """Return a signal's name, SIGSEGV say."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(stderr: bytes) -> str:
    """Return the last line of standard error, at most 200 printable characters."""
    lines = stderr[-LAST_LINE_BYTES:].decode("utf-8", "replace").strip().splitlines()
    text = lines[-1] if lines else ""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
