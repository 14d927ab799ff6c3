"""A program in full Python, run in the sandbox, that calls the host's tools over two pipes.

    outcome = run_sandboxed(program, {"summarizer": summarize}, {"text": "…"}, SandboxConfig())

The program sees nothing of the host but answers of the tools it was given. A tool's value that JSON
can't say (an image) stays here and is a number inside, to be handed to another tool. Whatever the
program writes is untrusted: messages are bounded in size and number, and a call of anything but a
given tool is an error.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any

from openqwen.agent.hf import inside
from openqwen.agent.hf.evaluator import MAX_PROGRAM, Outcome
from openqwen.agent.sandbox.box import Box, open_sandbox
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.folder import own_folder

MAX_CALLS = 100
MAX_DEPTH = 50
INSIDE = "inside.py"


class BrokenMessageError(Exception):
    """What came out of the sandbox is no message; one line says why."""


def run_sandboxed(
    program: str,
    tools: Mapping[str, Callable[..., Any]],
    state: Mapping[str, Any] | None = None,
    config: SandboxConfig | None = None,
) -> Outcome:
    """Run a program in the sandbox and return what it came to.

    Args:
        program: Python; every library that the sandbox shows may be used.
        tools: functions of this process that it may call.
        state: variables it begins with.
        config: limits; wall time does not run while a tool works.

    Returns:
        the outcome, its kind "", `raised` or `limit`.

    Raises:
        UserError: if this machine can't isolate as asked.
    """
    config = config or SandboxConfig()
    host = _Host(tools, state or {}, config)
    if len(program) > MAX_PROGRAM:
        return host.ended("limit", f"the program has more than {MAX_PROGRAM:,} characters")
    with (
        own_folder("openqwen-hf-") as folder,
        open_sandbox(config, folder=folder) as box,
    ):
        box.put({INSIDE: Path(inside.__file__).read_bytes()})
        return host.serve(box, program)


class _Host:
    """This side of one program's pipes."""

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]],
        state: Mapping[str, Any],
        config: SandboxConfig,
    ) -> None:
        self.tools, self.state, self.config = tools, dict(state), config
        self.held: list[Any] = []
        self.calls: list[str] = []
        self.bytes_left, self.seconds_left = config.max_output_bytes, config.timeout_s
        self.timed_out = False

    def ended(self, kind: str, error: str) -> Outcome:
        return Outcome(None, kind, error, self.state, self.calls)

    def serve(self, box: Box, program: str) -> Outcome:
        """Answer a program's calls until it is done or a limit ends it."""
        process = box.start(["python", "-I", INSIDE], stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        task = {"program": program, "tools": list(self.tools), "state": self.pack(self.state)}
        try:
            _send(process.stdin, task)
            while True:
                message = self.receive(box, process.stdout)
                if "done" in message:
                    return self.finish(message["done"])
                _send(process.stdin, self.call(message))
        except BrokenMessageError as error:
            return self.ended("limit", self.reason(box) or str(error))
        except BrokenPipeError:
            return self.ended("limit", self.reason(box) or "the program ended before its time")
        finally:
            box.kill()
            for stream in (process.stdin, process.stdout):
                _close(stream)
            process.wait()

    def receive(self, box: Box, stream: IO[bytes]) -> dict[str, Any]:
        """Return the next message; the box dies if none comes in the time that is left."""
        timer = threading.Timer(self.seconds_left, self.time_out, [box])
        begun = time.monotonic()
        timer.start()
        try:
            line = stream.readline(self.bytes_left + 1)
        finally:
            timer.cancel()
        self.seconds_left = max(0.0, self.seconds_left - (time.monotonic() - begun))
        self.bytes_left -= len(line)
        if self.bytes_left < 0:
            raise BrokenMessageError(
                f"more than {self.config.max_output_bytes:,} bytes of messages"
            )
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise BrokenMessageError("the program ended without a result") from None
        if not isinstance(message, dict):
            raise BrokenMessageError("the program wrote what is no message")
        return message

    def time_out(self, box: Box) -> None:
        self.timed_out = True
        box.kill()

    def reason(self, box: Box) -> str:
        """Return the limit that ended the program, or ""."""
        if self.timed_out:
            return f"the program took more than {self.config.timeout_s:g} s"
        return f"the program met the limit of {box.met}" if box.met else ""

    def call(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Call the tool that a message asks for; return the answer to it."""
        name = message.get("call")
        if not isinstance(name, str) or name not in self.tools:
            return {"error": f"{str(name)[:64]} is none of the tools"}
        if len(self.calls) == MAX_CALLS:
            return {"error": f"more than {MAX_CALLS} calls of tools"}
        self.calls.append(name)
        args, named = self.unpack(message.get("args")), self.unpack(message.get("named"))
        if not isinstance(args, list) or not isinstance(named, dict):
            return {"error": "a call without arguments"}
        try:
            return {"value": self.pack(self.tools[name](*args, **named))}
        except Exception as raised:  # a tool may raise anything
            return {"error": f"{type(raised).__name__}: {raised}"[: inside.MAX_SHOWN]}

    def finish(self, done: Any) -> Outcome:
        if not isinstance(done, dict) or not isinstance(done.get("state"), dict):
            raise BrokenMessageError("the program's result is not of the form agreed")
        state = self.unpack(done["state"])
        error = str(done.get("error") or "")
        value = None if error else self.unpack(done.get("value"))
        return Outcome(value, "raised" if error else "", error, state, self.calls)

    def pack(self, value: Any) -> Any:
        """Return a value as JSON says it, or the number under which it is held here."""
        if inside.is_plain(value) and not _mentions_held(value):
            return inside.pack(value)
        is_object = isinstance(value, dict) and all(isinstance(key, str) for key in value)
        if is_object and inside.HELD not in value:
            return {key: self.pack(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.pack(each) for each in value]
        self.held.append(value)
        return {inside.HELD: len(self.held) - 1, "about": type(value).__name__}

    def unpack(self, value: Any, depth: int = 0) -> Any:
        """Return a message's value with what is held here in its place.

        Raises:
            BrokenMessageError: if nothing is held under a number, or it is nested too deeply.
        """
        if depth > MAX_DEPTH:
            raise BrokenMessageError("a value nested too deeply")
        if isinstance(value, list):
            return [self.unpack(each, depth + 1) for each in value]
        if not isinstance(value, dict):
            return value
        if inside.HELD in value:
            number = value[inside.HELD]
            if type(number) is not int or not 0 <= number < len(self.held):
                raise BrokenMessageError("a value that the host does not hold")
            return self.held[number]
        return {key: self.unpack(each, depth + 1) for key, each in value.items()}


def _mentions_held(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_mentions_held(each) for each in value)
    if isinstance(value, dict):
        return inside.HELD in value or any(_mentions_held(each) for each in value.values())
    return False


def _send(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return
