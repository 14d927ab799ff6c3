"""What one call of the interpreter gave, and how a model gets to read it.

result = python.run("print(6 * 7)")
result.text(limit=2000)          # "stdout:\n\n```\n42\n```"
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "error", "timeout", "output", "memory", "died", "limit"]

_NOTES = {
    "timeout": "The code was stopped after {seconds:.0f} s.",
    "output": "The code was stopped: it wrote too much.",
    "memory": "The session ended: it took more memory than it may.",
    "died": "The session ended: its process died.",
    "limit": "The code was not run: the session is used up.",
}
RESTARTED = "The session was started anew: all variables are gone, files are still there."


@dataclass(frozen=True)
class RunResult:
    """One call.

    All texts come out of a process that runs untrusted code: they are claims, not facts.

    Attributes:
        status: `ok`; `error` for a Python exception; `timeout`; `output` for too much of it;
            `memory`; `died`; `limit` when the session's calls or seconds are used up.
        stdout: what was printed, its middle cut where it is long.
        stderr: warnings and the like.
        value: text of the last expression; None where there is none.
        error: the traceback without colours; None where there is none.
        images: PNG files, in the order they were shown.
        records: JSON that startup code published (`openqwen/eval/interpreter/inside_figures.py`).
        files: name -> bytes of files that the call made or changed.
        dropped: what was left out, in words.
        restarted: the session was started anew after this call.
        seconds: of wall time.
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: str | None = None
    images: tuple[bytes, ...] = ()
    records: tuple[Any, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    restarted: bool = False
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Return whether the code ran to its end without an error."""
        return self.status == "ok"

    def text(self, limit: int = 4000) -> str:
        """Return what the model reads: each part under its name, at most about `limit` characters.

        Parts in the order stdout, execute_result, error, image, then notes in plain sentences;
        stderr only where nothing else says what went wrong. A long part loses its middle.
        """
        parts = [
            ("stdout", self.stdout),
            ("execute_result", self.value or ""),
            ("error", self.error or ""),
            ("stderr", self.stderr if self.status != "error" and not self.stdout else ""),
        ]
        shown = [(name, text.strip("\n")) for name, text in parts if text.strip()]
        share = max(limit // max(len(shown), 1), 40)
        blocks = [f"{name}:\n\n```\n{clip(text, share)}\n```" for name, text in shown]
        if self.images:
            blocks.append(f"image: {len(self.images)} shown")
        blocks += self.notes()
        return "\n\n".join(blocks) or "The code ran and gave no output."

    def notes(self) -> list[str]:
        """Return sentences on what ended the call early and what was left out."""
        notes = [_NOTES[self.status].format(seconds=self.seconds)] if self.status in _NOTES else []
        notes += [f"Left out: {what}." for what in self.dropped]
        return notes + ([RESTARTED] if self.restarted else [])


def clip(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, its middle replaced by how much is missing."""
    if len(text) <= limit:
        return text
    note = f"\n[... {len(text) - limit:,} characters left out ...]\n"
    room = max(limit - len(note), 2)
    return text[: room - room // 2] + note + text[len(text) - room // 2 :]
