"""What a child process of `data.extraction.isolate` does: answer calls over a pipe until it closes.

Imports as little as it can: there is one such process a worker, and it must start fast.
"""

import contextlib
import gc
import importlib
import os
import resource
import signal
from collections.abc import Callable, Iterator

# a frame is its kind (1 byte), the size of its text (8 bytes, little endian), the text in UTF-8
HEADER_BYTES = 9
READY, OK, FAILED, MEMORY = b"r", b"+", b"-", b"m"
RENEW_CODE = 77  # the child has grown and asks for a fresh one; no page is to blame
RENEW_SHARE = 0.5  # of the memory allowed; a child that still holds more asks for a fresh one
FULL_SHARE = 0.7  # of the memory allowed; a child that peaked above it failed for want of it
READ_BYTES = 1 << 20
COLLECT_EVERY = 64  # calls; whatever cycles they may have left


def frame(kind: bytes, text: bytes) -> bytes:
    """Return one message as bytes."""
    return kind + len(text).to_bytes(8, "little") + text


def take_frames(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and text of each whole message in a buffer, and remove it there."""
    while len(buffer) >= HEADER_BYTES:
        end = HEADER_BYTES + int.from_bytes(buffer[1:HEADER_BYTES], "little")
        if len(buffer) < end:
            return
        kind, text = bytes(buffer[:1]), bytes(memoryview(buffer)[HEADER_BYTES:end])
        del buffer[:end]
        yield kind, text


def serve(calls: int, answers: int, function: str, cpu_s: float, memory_bytes: int) -> None:
    """Answer calls from one pipe on another until the first closes.

    Args:
        calls: file descriptor to read from.
        answers: file descriptor to write to.
        function: "module:name" of a function from str to str.
        cpu_s: processor time of a call, in seconds; the kernel's timer then ends the process.
        memory_bytes: address space, in bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with contextlib.suppress(ValueError, OSError):  # a system that can't limit goes without
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, _, name = function.partition(":")
    run: Callable[[str], str] = getattr(importlib.import_module(module), name)
    gc.disable()  # parsed pages go by their reference counts; the collector costs a tenth
    with contextlib.suppress(BrokenPipeError):  # the parent is gone: nobody waits
        at_start = peak_bytes()
        _write(answers, frame(READY, str(at_start).encode()))
        buffer = bytearray()
        while data := os.read(calls, READ_BYTES):
            buffer += data
            for number, (_, text) in enumerate(take_frames(buffer)):
                if number % COLLECT_EVERY == 0:
                    gc.collect(1)
                signal.setitimer(signal.ITIMER_PROF, cpu_s)
                answer = _answer(run, text, at_start, memory_bytes)
                signal.setitimer(signal.ITIMER_PROF, 0)
                _write(answers, answer)
                if held_bytes() > RENEW_SHARE * memory_bytes or is_full(at_start, memory_bytes):
                    os._exit(RENEW_CODE)


def peak_bytes() -> int:
    """Return the most memory this process has used; a young one counts what its parent had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def is_full(at_start: int, memory_bytes: int) -> bool:
    """Return whether a process whose peak was `at_start` has since come near its limit."""
    return peak_bytes() > max(at_start, FULL_SHARE * memory_bytes)


def held_bytes() -> int:
    """Return how much memory this process holds now; 0 where the system doesn't say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _answer(run: Callable[[str], str], text: bytes, at_start: int, memory_bytes: int) -> bytes:
    try:
        answer = run(text.decode("utf-8", "surrogatepass"))
        return frame(OK, answer.encode("utf-8", "surrogatepass"))
    except Exception as error:  # whatever a page provokes is that page's failure alone
        lacks_memory = isinstance(error, MemoryError) or is_full(at_start, memory_bytes)
        detail = f"{type(error).__name__}: {error}".encode("utf-8", "replace")
        return frame(MEMORY if lacks_memory else FAILED, detail)


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
