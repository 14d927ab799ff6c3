"""A released program followed to its end: output read, clock and meter looked at, limits kept."""

import contextlib
import os
import selectors
import time
from dataclasses import dataclass
from typing import IO

from openqwen.agent.sandbox.bare import Bare
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.meter import Met, Meter
from openqwen.agent.sandbox.started import Started

TICK_S = 0.02
CHUNK = 65536
DRAIN_S = 2.0  # for what is left in the pipes after the end


@dataclass(frozen=True)
class Seen:
    """What was seen of a program: its output, how it ended, and the limit it met, if any."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    met: Met | None


class _Output:
    """Both output streams, read as they come, at most `limit` bytes together."""

    def __init__(self, limit: int, streams: dict[str, IO[bytes]]) -> None:
        self.limit = limit
        self.parts: dict[str, bytearray] = {name: bytearray() for name in streams}
        self.selector = selectors.DefaultSelector()
        for name, stream in streams.items():
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, selectors.EVENT_READ, name)

    def room(self) -> int:
        """Return how many bytes may still come."""
        return self.limit - sum(map(len, self.parts.values()))

    def read(self, name: str, stream: IO[bytes]) -> bool:
        """Read what is there; False if it is more than may come."""
        room = self.room()
        try:
            data = os.read(stream.fileno(), CHUNK)
        except BlockingIOError:
            return True
        if not data:
            self.selector.unregister(stream)
        self.parts[name] += data[:room]
        return len(data) <= room


def watch(started: Started | Bare, config: SandboxConfig, meter: Meter) -> Seen:
    """Follow a released program until it ends or meets a limit; then all of it is ended."""
    process = started.process
    assert process.stdout is not None
    assert process.stderr is not None
    output = _Output(config.max_output_bytes, {"out": process.stdout, "err": process.stderr})
    deadline = time.monotonic() + config.timeout_s
    ended = os.pidfd_open(process.pid)
    output.selector.register(ended, selectors.EVENT_READ, "")
    try:
        met = _follow(output, config, meter, deadline)
        started.kill()
        if met is None or met.status != "output":
            met = _drain(output, config, ended) or met
    finally:
        output.selector.close()
        os.close(ended)
    code = None if met else started.exit_code()
    return Seen(bytes(output.parts["out"]), bytes(output.parts["err"]), code, met)


def _follow(output: _Output, config: SandboxConfig, meter: Meter, deadline: float) -> Met | None:
    """Read until the program ends (None) or meets a limit."""
    look = time.monotonic() + TICK_S
    while True:
        now = time.monotonic()
        if now >= deadline:
            return Met("timeout", f"ran longer than {config.timeout_s:g} s")
        if now >= look:
            met = meter.met()
            if met:
                return met
            look = now + TICK_S
        for key, _ in output.selector.select(min(look, deadline) - now):
            if not key.data:
                return None
            if not output.read(key.data, key.fileobj):  # type: ignore[arg-type]
                return _too_much(config)


def _drain(output: _Output, config: SandboxConfig, ended: int) -> Met | None:
    """Read what the program wrote before its end."""
    with contextlib.suppress(KeyError):
        output.selector.unregister(ended)
    deadline = time.monotonic() + DRAIN_S
    while output.selector.get_map() and time.monotonic() < deadline:
        for key, _ in output.selector.select(0.1):
            if not output.read(key.data, key.fileobj):  # type: ignore[arg-type]
                return _too_much(config)
    return None


def _too_much(config: SandboxConfig) -> Met:
    """Return the limit of output."""
    return Met("output", f"more than {config.max_output_bytes:,} bytes of output")
