"""A profiler trace of a few training steps: what ran when, on which thread, and what took longest.

trace/step-10.json.gz    Chrome's trace format: open in ui.perfetto.dev or chrome://tracing
trace/step-10.txt        the operators that took the most time, as a table
"""

import gzip
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from openqwen.core.files import atomic_path, write_text
from openqwen.core.log import say, warn

TABLE_ROWS = 40
_ABOUT_TABLE = (
    "Times are sums over all threads. The ranges (step, data, forward and backward, optimiser)\n"
    "stand on the thread that leads; while it waits for others, that counts as the range's own."
)


class TraceWriter:
    """Records steps `first` to `first + count - 1`, counted from 0, with all threads' operators."""

    def __init__(self, label: str, folder: Path, *, first: int, count: int) -> None:
        """Take what to record and where to write it."""
        self._label, self._folder = label, folder
        self._first, self._count = first, count
        self._profile: profile | None = None
        self._step: Any = None
        self._is_over = False

    def step_begins(self, step: int) -> None:
        """Start the profiler at the first step of the trace; name each step in it."""
        if self._is_over:
            return
        if self._profile is None and step == self._first:
            self._profile = profile(
                activities=_activities(),
                experimental_config=torch._C._profiler._ExperimentalConfig(
                    profile_all_threads=True  # micro-batches are worked on in threads of ours
                ),
            )
            self._profile.start()
        elif self._profile is None and step > self._first:
            self._is_over = True
            warn(f"{self._label}: step {self._first + 1:,} is past; no trace is written")
        if self._profile is not None:
            self._step = record_function(f"step {step + 1}")
            self._step.__enter__()

    def step_ended(self, step: int) -> None:
        """Write the trace when its last step is over."""
        if self._profile is not None:
            self._step.__exit__(None, None, None)
            if step >= self._first + self._count - 1:
                self._write(step)

    def row(self, row: dict[str, Any]) -> None:
        """Need nothing."""

    def close(self) -> None:
        """Write what there is where the training ended before the trace."""
        if self._profile is not None:
            self._write(None)

    def _write(self, last: int | None) -> None:
        assert self._profile is not None, "nothing was recorded"
        recorded, self._profile, self._is_over = self._profile, None, True
        recorded.stop()
        path = self._folder / f"step-{self._first + 1}.json.gz"
        with tempfile.TemporaryDirectory() as temporary:
            plain = Path(temporary) / "trace.json"
            recorded.export_chrome_trace(str(plain))
            with (
                atomic_path(path) as target,
                plain.open("rb") as source,
                gzip.open(target, "wb", compresslevel=5) as packed,
            ):
                shutil.copyfileobj(source, packed)
        averages = recorded.key_averages()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = averages.table(sort_by=f"self_{device}_time_total", row_limit=TABLE_ROWS)
        write_text(path.with_name(f"step-{self._first + 1}.txt"), f"{_ABOUT_TABLE}\n\n{table}\n")
        shown = "" if last is None else f" to {last + 1:,}"
        say(f"{self._label:<14}trace of steps {self._first + 1:,}{shown}: {path}")


def _activities() -> list[ProfilerActivity]:
    found = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        found.append(ProfilerActivity.CUDA)
    return found
