"""Messages of a kernel, which runs untrusted code, made into plain values of bounded size.

    collector = Collector(config)
    collector.take("stream", {"name": "stdout", "text": "42"})

Nothing is believed: a field of the wrong type is dropped, images are decoded strictly and must be
PNG of a bounded size, texts are cut, colours and other terminal controls are removed.
"""

import base64
import binascii
import re
import struct
from typing import Any

from openqwen.agent.interpreter.config import InterpreterConfig

RECORD_TYPE = "application/vnd.openqwen.record+json"
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PNG = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 40_000_000
MAX_RECORDS = 64
MAX_RECORD_BYTES = 3_000_000  # of the message: JSON of many small parts takes 20 times that
MAX_RECORD_DEPTH = 64


def plain(text: str) -> str:
    """Return a text without terminal escapes, control characters and lone surrogates."""
    text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return text.encode("utf-8", "replace").decode("utf-8")


class Clipped:
    """A text that grows without end and keeps its first and last `limit / 2` characters."""

    def __init__(self, limit: int) -> None:
        self._head, self._tail, self._half, self._lost = "", "", limit // 2, 0

    def add(self, text: str) -> None:
        """Append."""
        room = self._half - len(self._head)
        self._head += text[:room]
        self._tail += text[room:] if room < len(text) else ""
        if len(self._tail) > 2 * self._half:
            self._lost += len(self._tail) - self._half
            self._tail = self._tail[len(self._tail) - self._half :]

    def text(self) -> str:
        """Return what is kept, with a note in place of what is not."""
        surplus = max(len(self._tail) - self._half, 0)
        lost, tail = self._lost + surplus, self._tail[surplus:]
        note = f"\n[... {lost:,} characters left out ...]\n" if lost else ""
        return plain(self._head + note + tail)


def read_png(data: Any, max_bytes: int) -> bytes | str:
    """Return the bytes of a base64 PNG, or why it is no such thing."""
    if not isinstance(data, str):
        return "an image that is no text"
    if len(data) > max_bytes * 4 // 3 + 4 * 80:
        return f"an image of more than {max_bytes:,} bytes"
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return "an image that is not base64"
    if not raw.startswith(_PNG) or raw[12:16] != b"IHDR" or len(raw) < 33:
        return "an image that is not PNG"
    if len(raw) > max_bytes:
        return f"an image of more than {max_bytes:,} bytes"
    width, height = struct.unpack(">II", raw[16:24])
    if not 0 < width * height <= MAX_PIXELS:
        return f"an image of {width:,} × {height:,} pixels"
    return raw


class Collector:
    """Gathers one call's outputs.

    Attributes:
        received: bytes of all messages so far, counted by who receives them.
        is_idle: the kernel said that it is done.
        failed: the kernel told of an exception.
    """

    def __init__(self, config: InterpreterConfig) -> None:
        limit = config.max_output_bytes
        self._config = config
        self._texts = {name: Clipped(limit) for name in ("stdout", "stderr", "value", "error")}
        self._has: set[str] = set()
        self.images: list[bytes] = []
        self.records: list[Any] = []
        self.dropped: list[str] = []
        self.received = 0
        self.is_idle = self.failed = False

    def take(self, kind: Any, content: Any, size: int = 0) -> None:
        """Take one message of the output channel; unknown kinds and wrong types are passed over.

        Texts keep a bounded part; images and records that come after `stop_output_bytes` are lost.

        Args:
            kind: its type.
            content: what it says.
            size: its bytes.
        """
        if not isinstance(content, dict):
            return
        if kind == "stream":
            self._add(
                "stderr" if content.get("name") == "stderr" else "stdout", content.get("text")
            )
        elif kind == "error":
            self.failed = True
            self._add("error", _traceback(content))
        elif kind in ("display_data", "execute_result", "update_display_data"):
            if self.received - size <= self._config.stop_output_bytes:
                self._take_bundle(content.get("data"), size, is_value=kind == "execute_result")
        elif kind == "status" and content.get("execution_state") == "idle":
            self.is_idle = True

    def get(self, name: str) -> str | None:
        """Return a text by name, None where there was none."""
        return self._texts[name].text() if name in self._has else None

    def _add(self, name: str, text: Any) -> None:
        if isinstance(text, str):
            self._has.add(name)
            self._texts[name].add(text)

    def _take_bundle(self, data: Any, size: int, *, is_value: bool) -> None:
        if not isinstance(data, dict):
            return
        if RECORD_TYPE in data:
            record = data[RECORD_TYPE]
            is_small = size <= MAX_RECORD_BYTES and _is_shallow(record, MAX_RECORD_DEPTH)
            if is_small and len(self.records) < MAX_RECORDS:
                self.records.append(record)
            return
        if "image/png" in data:
            self._take_image(data["image/png"])
        if is_value:
            self._add("value", data.get("text/plain"))
        elif "image/png" not in data and isinstance(data.get("text/plain"), str):
            self._add("stdout", data["text/plain"] + "\n")

    def _take_image(self, data: Any) -> None:
        found = read_png(data, self._config.max_image_bytes)
        if isinstance(found, str):
            self._drop(found)
        elif len(self.images) >= self._config.max_images:
            self._drop(f"images after the first {self._config.max_images}")
        else:
            self.images.append(found)

    def _drop(self, what: str) -> None:
        if what not in self.dropped and len(self.dropped) < 8:
            self.dropped.append(what)


def _traceback(content: dict[str, Any]) -> str:
    """Return the traceback's lines; name and message of the exception where there is none."""
    lines = content.get("traceback")
    if isinstance(lines, list) and lines:
        return "\n".join(line for line in lines if isinstance(line, str))
    parts = (content.get("ename"), content.get("evalue"))
    return ": ".join(part for part in parts if isinstance(part, str)) or "an error without a name"


def _is_shallow(value: Any, levels: int) -> bool:
    """Return whether JSON is nested at most so many levels: deep ones break who works on them."""
    below = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return True
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in below)
