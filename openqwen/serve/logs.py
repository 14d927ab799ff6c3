"""The log: one line of JSON for each request and each event, to standard error; no contents.

log = JsonLog()
log.event("request", path="/v1/chat/completions", status=200, new_tokens=40)
log.failure("qwen: a step failed", error)
"""

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from openqwen.serve.service import Stream


class JsonLog:
    """Writes lines; safe from any thread."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, else to standard error."""
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def event(self, event: str, **fields: Any) -> None:
        """Write one line; fields that are None are left out, seconds are rounded to 0.1 ms."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": now, "event": event}
        for name, value in fields.items():
            if value is not None:
                line[name] = round(value, 4) if isinstance(value, float) else value
        text = json.dumps(line, ensure_ascii=True)
        # whoever read the log may have gone (a pipe to head): that must not stop a drain
        with self._lock, contextlib.suppress(OSError, ValueError):
            print(text, file=self._stream, flush=True)

    def failure(self, what: str, error: BaseException) -> None:
        """Write a failure that is no client's fault, with its traceback."""
        lines = "".join(traceback.format_exception(error))
        self.event("error", message=what, error=repr(error), traceback=lines)


class LogHandler(logging.Handler):
    """Turns other libraries' warnings into lines of ours."""

    def __init__(self, log: JsonLog) -> None:
        """Write to `log`."""
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._log.failure(record.getMessage(), error)
        else:
            self._log.event("server", level=record.levelname, message=record.getMessage())


def describe_streams(streams: "Sequence[Stream]") -> dict[str, Any]:
    """Return the log's fields of the replies that a request asked for; the slowest one's times."""
    if not streams:
        return {}
    jobs = [stream.job for stream in streams]
    queued = [job.started_at - job.queued_at for job in jobs if job.started_at is not None]
    first = [j.first_token_at - j.queued_at for j in jobs if j.first_token_at is not None]
    reasons = {
        (stream.error.code if stream.error else None) or job.request.finish_reason or "cancelled"
        for stream, job in zip(streams, jobs, strict=True)
    }
    return {
        "model": streams[0].model.name,
        "prompt_tokens": len(jobs[0].request.prompt_ids),
        "new_tokens": sum(len(job.request.ids) for job in jobs),
        "queue_s": max(queued, default=None),
        "ttft_s": max(first, default=None),
        "finish": "+".join(sorted(reasons)),
    }
