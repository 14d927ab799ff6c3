"""What became of a program in the sandbox.

verdict = run_program("print(1)")
verdict.status, verdict.stdout           # "ok", "1\n"
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from openqwen.agent.sandbox.config import Level

Status = Literal[
    "ok",
    "error",
    "timeout",
    "memory",
    "output",
    "files",
    "processes",
    "blocked",
    "crashed",
]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one program.

    Attributes:
        status: `ok`, exit status 0; `error`, another exit status; `crashed`, ended by a signal;
            `blocked`, refused by the isolation; or the limit that it met: `timeout`, `memory`,
            `output`, `files`, `processes`.
        exit_code: what the program returned, None where it was killed.
        signal: number of the signal that ended it, None without one. A program that returns
            128 + n itself can't be told from one that signal n ended.
        stdout: at most `max_output_bytes` of both together, UTF-8, broken bytes replaced.
        stderr: as `stdout`.
        seconds: wall time from the start of the program to its end.
        files: what it left of the files asked for, by name relative to its directory.
        level: the isolation that was in force.
        reason: one line on why it is not `ok`; empty if it is.
    """

    status: Status
    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    seconds: float
    level: Level
    files: dict[str, bytes] = field(default_factory=dict)
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself with exit status 0."""
        return self.status == "ok"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON types; of the files, their sizes."""
        return {
            "status": self.status,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "seconds": round(self.seconds, 4),
            "level": self.level,
            "reason": self.reason,
            "files": {name: len(data) for name, data in sorted(self.files.items())},
            "stdout": self.stdout,
            "stderr": self.stderr,
        }
