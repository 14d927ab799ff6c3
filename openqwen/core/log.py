"""What a run says: one line a fact on the terminal, and a stream of numbers in a file.

progress = Progress("documents extract", total=2603, unit="pages")
progress.advance(1, note="dropped 4")
progress.close()
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from openqwen.core.files import write_text
from openqwen.core.runtime import rank

LINE_INTERVAL_S = 10.0  # between lines where the output is not a terminal
REDRAW_INTERVAL_S = 0.2


def say(text: str) -> None:
    """Print one line of a run for its user, at once; of several processes only the first does."""
    if rank() == 0:
        print(text, flush=True)


def warn(text: str) -> None:
    """Print one line to standard error that the user should see but need not act on.

    Of several processes that train together only the first does.
    """
    if rank() == 0:
        print(f"openqwen: {text}", file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """Return m:ss below an hour, else h:mm:ss."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_bytes(count: float) -> str:
    """Return a size with a decimal unit, as 3.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class Progress:
    """A line with the amount done, the rate and the time left; redrawn on a terminal."""

    def __init__(
        self, label: str, *, total: int, unit: str, done: int = 0, stream: TextIO | None = None
    ) -> None:
        """Start the clock; `done` is what an earlier attempt already did (not part of the rate)."""
        self.label, self.total, self.unit = label, total, unit
        self.done = self.done_before = done
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self.started = self.shown = time.monotonic()
        self.note = ""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more units; show a line when one is due."""
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        ended = 0 < self.total <= self.done  # `close` shows the last line
        if not ended and now - self.shown >= (
            REDRAW_INTERVAL_S if self.is_terminal else LINE_INTERVAL_S
        ):
            self.shown = now
            self._show(end="" if self.is_terminal else "\n")

    def close(self, summary: str = "") -> None:
        """Show the final line, or `summary` in its place."""
        if summary:
            self._show(end="\n", text=summary)
        else:
            self._show(end="\n")

    @property
    def seconds(self) -> float:
        """Return the time since the start."""
        return time.monotonic() - self.started

    def line(self) -> str:
        """Return the line as it would be shown now."""
        seconds = self.seconds
        rate = (self.done - self.done_before) / seconds if seconds > 0 else 0.0
        amount = f"{self.done:,}/{self.total:,}" if self.total else f"{self.done:,}"
        speed = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2f}/s"
        left = ""
        if self.total and rate > 0 and self.done < self.total:
            left = f"   {format_duration((self.total - self.done) / rate)} left"
        elif self.done >= self.total:
            left = f"   {format_duration(seconds)}"
        return f"{self.label:<24} {amount} {self.unit}   {speed}{left}   {self.note}".rstrip()

    def _show(self, end: str, text: str = "") -> None:
        if rank():
            return  # the first process tells
        line = text or self.line()
        if self.is_terminal:
            line = "\r\x1b[K" + fit(line, _columns(self.stream))
        self.stream.write(line + end)
        self.stream.flush()


def fit(line: str, columns: int) -> str:
    """Return a line that a terminal won't wrap: closer together, then cut; 0 columns: unknown."""
    if not 0 < columns <= len(line):
        return line
    closer = re.sub(r" {2,}", "  ", line)
    return closer if len(closer) < columns else closer[: max(1, columns - 2)] + "…"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


class MetricStream:
    """A JSONL file of numbers, one row an event; rows past a resumed step are cut off first."""

    def __init__(self, path: Path) -> None:
        """Use `path`; rows already there stay."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row and flush it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def keep_until(self, step: int) -> None:
        """Drop rows past `step`, and a torn last line, as a resumed run needs."""
        kept = [row for row in read_metrics(self.path) if row.get("step", 0) <= step]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        write_text(self.path, text)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metric stream; a torn last line (the process was killed) is left out."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows
