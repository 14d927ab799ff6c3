"""A server process: address first, then models, then requests until a signal drains it.

    serve(config, models)      # 0 after a drain

SIGTERM or Ctrl-C: new requests are told 503, running replies have `drain_timeout_s` to end, then
the process leaves. A second signal ends it at once.
"""

import asyncio
import errno
import gc
import logging
import os
import socket
from collections.abc import Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.core.runtime import keep_freed_memory
from openqwen.serve.app import build_app
from openqwen.serve.config import ModelConfig, ServeConfig
from openqwen.serve.connections import PatientProtocol, abort_connection, raise_file_limit
from openqwen.serve.logs import JsonLog, LogHandler
from openqwen.serve.models import open_models

LAST_WORDS_S = 5.0  # for handlers to end after their replies have been cancelled
POLL_S = 0.05


def serve(config: ServeConfig, models: Sequence[ModelConfig]) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        UserError: if the address can't be had, or a model can't be loaded.
    """
    raise_file_limit()
    keep_freed_memory()
    log = JsonLog()
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [LogHandler(log)], False
    with bind(config.host, config.port) as listener:
        host, port = listener.getsockname()[:2]
        served = open_models(models, config, tell=warn, report=log.failure)
        try:
            app = build_app(served, config, log=log)
            gc.collect()
            gc.freeze()  # what is loaded stays; collections need not walk it again
            try:
                listener.listen(config.max_connections)
            except OSError as error:
                raise UserError(_why_not(config, error)) from None
            shown = f"[{host}]" if ":" in host else host
            warn(f"serving at http://{shown}:{port}/ (the API: http://{shown}:{port}/v1)")
            server = DrainingServer(app, config, log)
            server.run(sockets=[listener])
        finally:
            served.close()
    return 1 if server.was_forced else 0


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, not yet listening: clients are refused until it does.

    Raises:
        UserError: if the address is taken, not this machine's, or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        raise UserError(f"host {host!r} is no address of this machine") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_listening(listener.family, address):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UserError(
            _why_not(ServeConfig.model_construct(host=host, port=port), error)
        ) from None
    return listener


def is_listening(family: int, address: tuple[object, ...]) -> bool:
    """Return whether somebody has the address: on some systems binding it would pass anyway."""
    if address[1] == 0:
        return False
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(address) == 0


def _why_not(config: ServeConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {config.port} on {config.host} is taken; give another with --port"
    if error.errno == errno.EACCES:
        return f"port {config.port} needs more rights; take one from 1024 up with --port"
    return f"can't listen on {config.host} port {config.port}: {error.strerror}"


class DrainingServer(uvicorn.Server):
    """uvicorn, with an end that lets running replies finish.

    Attributes:
        was_forced: whether a second signal has cut replies off.
    """

    def __init__(self, app: FastAPI, config: ServeConfig, log: JsonLog) -> None:
        """Set uvicorn up: its own log lines go to ours, connections have bounds."""
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol.bounded(config),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # an address that anybody can make up bounds nobody
                timeout_keep_alive=max(1, round(config.idle_timeout_s)),
                timeout_graceful_shutdown=round(LAST_WORDS_S),
                backlog=config.max_connections,
            )
        )
        self.was_forced = False
        self._app, self._settings, self._log = app, config, log
        self._draining: asyncio.Task[None] | None = None
        app.state.abort = lambda scope: abort_connection(self.server_state.connections, scope)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first one drains, the second one ends."""
        if self._app.state.service.is_draining:
            self.was_forced = self.force_exit = self.should_exit = True
            return
        self._app.state.service.is_draining = True

    async def on_tick(self, counter: int) -> bool:
        """Start draining once a signal has asked for it (signal handlers must not)."""
        if self._app.state.service.is_draining and self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        """Wait for what runs, as long as the settings say, then cancel it and leave."""
        service, guard = self._app.state.service, self._app.state.guard
        try:
            self._log.event("draining", unfinished=service.num_unfinished)
            loop = asyncio.get_running_loop()
            end = loop.time() + self._settings.drain_timeout_s
            while (guard.num_open or service.num_unfinished) and loop.time() < end:
                await asyncio.sleep(POLL_S)
            cut = service.num_unfinished
            service.close()
            self._log.event("drained", cut=cut)
        finally:
            self.should_exit = True
