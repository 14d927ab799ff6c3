"""Connections that can't hurt: time for a request's head, a bound on how many are open.

    uvicorn.Config(app, http=PatientProtocol.bounded(config))

uvicorn waits for ever for the first byte of a request. Here a connection that has no request under
way is closed after `idle_timeout_s`, one that dawdles over a head after `body_timeout_s`, and where
too many are open the one that has been idle longest makes room. What is no HTTP gets 400 and a line
in the log.
"""

import asyncio
import resource
from collections.abc import Iterable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from openqwen.serve.config import ServeConfig

MAX_HEAD_BYTES = 65_536
SPARE_FILES = 128  # for everything that is no connection


def raise_file_limit() -> int:
    """Raise the bound on open files as far as the system lets us; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def most_connections(asked: int) -> int:
    """Return how many connections may be open: as asked for, within the system's bound."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return asked if soft == resource.RLIM_INFINITY else max(1, min(asked, soft - SPARE_FILES))


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with an end to its patience."""

    idle_s, head_s, most = 15.0, 30.0, 1000

    @classmethod
    def bounded(cls, config: ServeConfig) -> type["PatientProtocol"]:
        """Return the protocol with a server's bounds."""
        bounds = {
            "idle_s": config.idle_timeout_s,
            "head_s": config.body_timeout_s,
            "most": most_connections(config.max_connections),
        }
        return type("BoundedProtocol", (cls,), bounds)

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        """Make a connection's state, with a bound on its head."""
        config.h11_max_incomplete_event_size = MAX_HEAD_BYTES
        super().__init__(config, *args, **kwargs)
        self._impatience: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._idle_since = self.loop.time()

    @property
    def is_idle(self) -> bool:
        """Return whether no request is under way."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; the one idle for longest leaves where there are too many."""
        super().connection_made(transport)
        self._wait(self.idle_s)
        if len(self.connections) > self.most:
            idle = [c for c in self.connections if isinstance(c, PatientProtocol) and c.is_idle]
            if idle:
                min(idle, key=lambda c: c._idle_since).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that has begun must be whole soon."""
        was_idle = self.is_idle
        super().data_received(data)
        if not self.is_idle:
            self._relax()
        elif was_idle and not self._is_in_head:
            self._is_in_head = True
            self._wait(self.head_s)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._idle_since = self.loop.time()
        self._is_in_head = False
        super().on_response_complete()
        if self.is_idle and self.conn.our_state is not h11.MUST_CLOSE:
            self._wait(self.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._relax()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of all our errors."""
        if self.conn.our_state is not h11.IDLE and self.conn.our_state is not h11.SEND_RESPONSE:
            self.transport.abort()  # in the middle of an answer there is nothing right to say
            return
        body = (
            b'{"error":{"message":"this is no HTTP request","type":"invalid_request_error",'
            b'"param":null,"code":"bad_request"}}'
        )
        head = [(b"content-type", b"application/json"), (b"connection", b"close")]
        head.append((b"content-length", str(len(body)).encode()))
        for event in (
            h11.Response(status_code=400, headers=head, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            sent = self.conn.send(event)
            if sent:
                self.transport.write(sent)
        self.transport.close()

    def _wait(self, seconds: float) -> None:
        self._relax(keep_head=True)
        self._impatience = self.loop.call_later(seconds, self._give_up)

    def _relax(self, *, keep_head: bool = False) -> None:
        if not keep_head:
            self._is_in_head = False
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _give_up(self) -> None:
        if self.is_idle and not self.transport.is_closing():
            self.transport.abort()


def abort_connection(connections: Iterable[Any], scope: Any) -> None:
    """Cut the connection of a request whose client has stopped reading."""
    for connection in list(connections):
        if getattr(connection, "scope", None) is scope:
            connection.transport.abort()
