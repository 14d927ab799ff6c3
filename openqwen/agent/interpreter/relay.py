"""A relay between a kernel's socket and ours that lets only messages of a bounded size through.

    relay = Relay(listening, there, max_bytes)     # ZeroMQ connects to `listening`'s path
    relay.is_broken                                # a message was too large: the line is cut
    relay.close()

ZeroMQ bounds each part of a message but not the number of parts: it would gather a message without
end in this process's memory. Here sizes are added up over all parts, before they are handed on.

Source: ZMTP 3.0 (rfc.zeromq.org, 23/ZMTP): a greeting of 64 bytes, frames of flags, size, body.
"""

import contextlib
import socket
import threading

GREETING_BYTES = 64
MAX_PARTS = 64  # Jupyter's messages have some seven
CHUNK = 65536
_MORE, _LONG = 1, 2  # flags of a frame: others of the message follow; the size has eight bytes


class TooLargeError(Exception):
    """A message is larger, or has more parts, than may be."""


class FrameMeter:
    """Follows a stream of ZMTP and refuses a message as soon as its sizes add up to too much."""

    def __init__(self, max_bytes: int) -> None:
        """Bound a message, all its parts together, to `max_bytes`."""
        self._max_bytes = max_bytes
        self._body = GREETING_BYTES  # bytes to come that are no frame's head
        self._head = bytearray()
        self._parts = self._bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        Raises:
            TooLargeError: if a message in them is too large.
        """
        at = 0
        while at < len(data):
            if self._body:
                passed = min(self._body, len(data) - at)
                self._body -= passed
                at += passed
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) == (9 if self._head[0] & _LONG else 2):
                self._begin(self._head[0], int.from_bytes(self._head[1:]))
                self._head.clear()

    def _begin(self, flags: int, size: int) -> None:
        """Count a frame in."""
        self._parts += 1
        self._bytes += size
        if self._parts > MAX_PARTS or self._bytes > self._max_bytes:
            raise TooLargeError(f"{self._parts} parts, {self._bytes:,} bytes")
        self._body = size
        if not flags & _MORE:
            self._parts = self._bytes = 0


class Relay:
    """One channel: what connects to our socket is led to the kernel's, which is connected already.

    Attributes:
        is_broken: a message from the kernel was too large and the line was cut.
    """

    def __init__(self, listening: socket.socket, there: socket.socket, max_bytes: int) -> None:
        """Take a listening socket of ours and one connected to the kernel; both are closed here."""
        self.is_broken = False
        self._listening, self._there = listening, there
        self._here: socket.socket | None = None
        self._meter = FrameMeter(max_bytes)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Cut the line."""
        for end in (self._listening, self._here, self._there):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with self._listening, self._there:
            with contextlib.suppress(OSError):
                self._here, _ = self._listening.accept()
            if self._here is None:
                return
            with self._here:
                sending = threading.Thread(target=self._send, args=(self._here,), daemon=True)
                sending.start()
                self._receive(self._here)
                self.close()
                sending.join()

    def _receive(self, here: socket.socket) -> None:
        """Hand on what the kernel sends, until it ends or sends too much."""
        try:
            while data := self._there.recv(CHUNK):
                self._meter.feed(data)
                here.sendall(data)
        except TooLargeError:
            self.is_broken = True
        except OSError:
            pass

    def _send(self, here: socket.socket) -> None:
        """Hand on what we send; its end is not the end of what the kernel sends."""
        with contextlib.suppress(OSError):
            while data := here.recv(CHUNK):
                self._there.sendall(data)
        self.close()
