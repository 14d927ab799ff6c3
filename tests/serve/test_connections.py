"""More connections than allowed: the one that has been idle longest makes room."""

import asyncio
import contextlib
import socket

import uvicorn
from small_servers import Lines

from openqwen.serve.app import build_app
from openqwen.serve.config import ServeConfig
from openqwen.serve.connections import PatientProtocol, most_connections
from openqwen.serve.logs import JsonLog
from openqwen.serve.models import Models

MOST = 8


async def is_closed(reader):
    with contextlib.suppress(ConnectionResetError):
        try:
            return await asyncio.wait_for(reader.read(1), 0.2) == b""
        except TimeoutError:
            return False
    return True


def test_one_connection_too_many_closes_the_longest_idle_one():
    config = ServeConfig(max_connections=MOST, chat=False)
    app = build_app(Models(), config, log=JsonLog(Lines()))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def talk():
        server = uvicorn.Server(
            uvicorn.Config(
                app, http=PatientProtocol.bounded(config), ws="none", lifespan="off",
                log_config=None,
            )
        )  # fmt: skip
        task = asyncio.create_task(server.serve(sockets=[listener]))
        opened = []
        for _ in range(MOST + 4):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.02)
        closed = [await is_closed(reader) for reader, _ in opened]
        reader, writer = opened[-1]
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status = await reader.readline()
        for _, writer in opened:
            writer.close()
        server.should_exit = True
        await task
        return closed, status

    closed, status = asyncio.run(talk())
    assert closed == [True] * 4 + [False] * MOST
    assert status == b"HTTP/1.1 200 OK\r\n"


def test_connections_stay_within_what_the_system_lets_open():
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert most_connections(5) == min(5, soft)
    assert most_connections(10**9) < soft or soft == resource.RLIM_INFINITY
