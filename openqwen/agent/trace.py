"""What an agent's run did, kept as it happens: events in JSONL, a page of Markdown, tools' files.

    trace = Trace("17 × 23?", folder=Path("traces/0001"))
    trace.record("reply", step=1, text="Thought: …")
    trace.finish("answer", "391")
    print(trace.markdown())

Whatever ends a run, its folder holds what was done until then.
"""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openqwen.core.files import atomic_path, write_text

EVENTS_NAME, PAGE_NAME = "events.jsonl", "trace.md"
ENDINGS = {
    "answer": "the model answered",
    "plain answer": "the model answered without the form",
    "steps": "the limit of steps was reached",
    "seconds": "the limit of time was reached",
    "tokens": "the limit of new tokens was reached",
    "context": "the conversation no longer fits the model's context",
    "truncated": "a reply was cut at its length",
    "malformed": "too many calls that no tool could take",
    "repeats": "the same call gave the same result again and again",
    "error": "the model could not be asked any further",
    "stopped": "stopped by the user",
}


class Trace:
    """One run.

    Attributes:
        query: what was asked.
        events: in order; each has `event` and `at`, seconds since the start.
        answer: the final answer; "" where there is none.
        reason: why it ended, a key of `ENDINGS`; "" while it goes on.
        num_prompt_tokens: of all steps together, as far as the model tells.
        num_new_tokens: likewise.
        files: what tools made, name -> content.
    """

    def __init__(self, query: str, *, folder: Path | None = None) -> None:
        """Begin; with a folder every event is on disk as soon as it is recorded."""
        self.query, self.folder = query, folder
        self.events: list[dict[str, Any]] = []
        self.answer, self.reason = "", ""
        self.num_prompt_tokens = self.num_new_tokens = 0
        self.files: dict[str, bytes] = {}
        self._started = time.monotonic()
        self._ended: float | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / EVENTS_NAME, "")

    @property
    def seconds(self) -> float:
        """Return seconds from the start to the end, or to now."""
        return (self._ended or time.monotonic()) - self._started

    @property
    def is_answered(self) -> bool:
        """Return whether the model itself came to an end."""
        return self.reason in ("answer", "plain answer") and bool(self.answer)

    @property
    def num_steps(self) -> int:
        """Return how often the model was asked."""
        return sum(event["event"] == "reply" for event in self.events)

    @property
    def error(self) -> str:
        """Return in a line why the model could not be asked, where that ended the run; else ""."""
        if self.reason != "error":
            return ""
        return str(self.events[-1].get("error") or "the model gave an error")

    def calls(self) -> list[dict[str, Any]]:
        """Return the events of all calls, in order, with name, arguments, problem, observation."""
        return [event for event in self.events if event["event"] == "call"]

    def record(self, event: str, **facts: Any) -> None:
        """Append an event; what JSON can't say is kept as text."""
        row = {"event": event, "at": round(self.seconds, 3), **facts}
        self.events.append(row)
        if self.folder is not None:
            line = json.dumps(row, ensure_ascii=False, default=str) + "\n"
            with (self.folder / EVENTS_NAME).open("a", encoding="utf-8", errors="replace") as file:
                file.write(line)

    def keep_files(self, files: Mapping[str, bytes]) -> list[str]:
        """Keep a tool's files; return their names here, made safe and distinct."""
        names = []
        for name, content in files.items():
            safe = re.sub(r"[^\w.-]+", "_", Path(name).name).lstrip(".")[-100:] or "file"
            taken = {EVENTS_NAME, PAGE_NAME, *self.files}
            stem, dot, ending = safe.rpartition(".")
            number = 1
            while safe in taken:
                number += 1
                safe = f"{stem}-{number}.{ending}" if dot else f"{ending}-{number}"
            self.files[safe] = content
            names.append(safe)
            if self.folder is not None:
                with atomic_path(self.folder / safe) as path:
                    path.write_bytes(content)
        return names

    def finish(self, reason: str, answer: str = "", **facts: Any) -> "Trace":
        """End the run for a reason of `ENDINGS`; write the page."""
        self.reason, self.answer = reason, answer
        self._ended = time.monotonic()
        self.record(
            "end",
            reason=reason,
            answer=answer,
            steps=self.num_steps,
            prompt_tokens=self.num_prompt_tokens,
            new_tokens=self.num_new_tokens,
            seconds=round(self.seconds, 3),
            **facts,
        )
        if self.folder is not None:
            write_text(self.folder / PAGE_NAME, _writable(self.markdown()))
        return self

    def ending(self) -> str:
        """Return one line: why it ended, after how much."""
        return (
            f"{ENDINGS.get(self.reason, self.reason)}; {self.num_steps} steps, "
            f"{self.num_new_tokens:,} new tokens, {self.seconds:.1f} s"
        )

    def markdown(self) -> str:
        """Return the run as a page to read."""
        lines = [f"# {_one_line(self.query)}", ""]
        for event in self.events:
            lines += _section(event)
        return "\n".join(lines).rstrip() + "\n"


def _section(event: Mapping[str, Any]) -> list[str]:
    """Return one event's lines of the page."""
    kind = event["event"]
    if kind == "start":
        facts = [f"- {name}: {_one_line(event[name])}" for name in ("model", "form", "tools")]
        settings = ", ".join(f"{name} {value}" for name, value in event["settings"].items())
        versions = ", ".join(f"{name} {value}" for name, value in event["versions"].items())
        facts += [f"- settings: {settings}", f"- versions: {versions}"]
        prompt = event["prompt"]
        if not isinstance(prompt, str):
            prompt = "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in prompt)
        return [*facts, "", "## Prompt", "", *_fenced(prompt), ""]
    if kind == "reply":
        head = f"## Step {event['step']}"
        tokens = f"{event['new_tokens']:,} tokens, {event['seconds']:.1f} s"
        cut = ", cut at its length" if event["finish_reason"] == "length" else ""
        return [head, "", f"{tokens}{cut}", "", *_fenced(event["text"]), ""]
    if kind == "call":
        title = "Malformed call" if event["problem"] else f"`{_one_line(event['name'])}`"
        lines = [f"{title}, {event['seconds']:.1f} s", "", *_fenced(event["observation"]), ""]
        for name in event["files"]:
            shown = f"![{name}]({name})" if name.endswith(".png") else f"[{name}]({name})"
            lines += [shown, ""]
        return lines
    lines = ["## End", "", ENDINGS.get(event["reason"], event["reason"])]
    if event.get("error"):
        lines += ["", event["error"]]
    lines += ["", f"{event['steps']} steps, {event['prompt_tokens']:,} prompt tokens read, "]
    lines[-1] += f"{event['new_tokens']:,} written, {event['seconds']:.1f} s"
    return [*lines, *(["", *_fenced(event["answer"])] if event["answer"] else [])]


def _fenced(text: str) -> list[str]:
    """Return text in a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return [fence, text.rstrip("\n"), fence]


def _one_line(value: Any) -> str:
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= 100 else text[:99] + "…"


def _writable(text: str) -> str:
    """Return text that has a UTF-8 form: half characters become U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8", "replace")
