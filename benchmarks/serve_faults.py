"""Clients that vanish, read slowly, send garbage or just sit there, and a server that is killed.

    python benchmarks/serve_faults.py MODEL.gguf --write-docs

One `openqwen serve` on loopback. After each fault it says whether the next request works and how
long it took, what memory and connections the server holds, and what its engine still has to do.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from results import PERFORMANCE, provenance, write_section
from serve_clients import Job, make_jobs, measure
from serve_load import free_port, running

IDLE_CONNECTIONS = 1000
CALM_S = 40.0  # until everything is back


@dataclass
class State:
    """What the server holds at a moment; memory in MB."""

    resident: float
    connections: int
    running: int
    kv_used: float


class Target:
    """The server under test."""

    def __init__(self, pid: int, port: int) -> None:
        """Take the process and where it listens."""
        self.pid, self.port = pid, port

    def state(self) -> State:
        """Return what it holds now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
        return State(
            resident,
            len(list(Path(f"/proc/{self.pid}/fd").iterdir())),
            round(self.metric("openqwen_running")),
            self.metric("openqwen_kv_used_bytes") / 1e6,
        )

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        text = urllib.request.urlopen(url, timeout=30).read().decode()
        rows = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    def ask(self, job: Job) -> str:
        """Carry one job to its end; return its seconds, or what went wrong."""
        run = measure("127.0.0.1", self.port, "ours", [job], at_once=1)
        problem = run.streams[0].problem
        return f"failed: {problem}" if problem else f"{run.seconds:.2f} s"

    def request(self, job: Job) -> bytes:
        """Return a streaming request as it goes over the wire."""
        body = {
            "model": "ours",
            "messages": job.messages,
            "max_tokens": job.max_tokens,
            "stream": True,
            "ignore_eos": True,
        }
        data = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    def wait_until_calm(self) -> None:
        """Wait until the engine has nothing left to do."""
        limit = time.monotonic() + CALM_S
        while time.monotonic() < limit and self.metric("openqwen_running"):
            time.sleep(0.25)


def vanish(target: Target, jobs: list[Job]) -> str:
    """Let 48 clients leave in the middle of their streams."""

    async def one(job: Job, after_s: float) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writer.write(target.request(job))
        await writer.drain()
        await asyncio.sleep(after_s)
        writer.transport.abort()

    async def all_of_them() -> None:
        draw = random.Random(1)
        await asyncio.gather(*(one(job, 4 * draw.random()) for job in jobs[:48]))

    asyncio.run(all_of_them())
    return "48 clients leave within 4 s"


def dawdle(target: Target, jobs: list[Job]) -> str:
    """Let 20 clients read a few bytes now and then, and another one wait for its answer."""
    slow = []
    for job in jobs[:20]:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", target.port))
        connection.sendall(target.request(job))
        connection.setblocking(False)
        slow.append(connection)
    time.sleep(2)
    meanwhile = target.ask(jobs[-1])
    for _ in range(100):
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.recv(16)
        time.sleep(0.1)
    for connection in slow:
        connection.close()
    return f"20 clients read 160 bytes a second; another one's answer meanwhile: {meanwhile}"


def send_garbage(target: Target, jobs: list[Job]) -> str:
    """Send 300 times what is no request, or half of one, or a bad one."""
    draw = random.Random(2)
    good = target.request(jobs[0])
    kinds: list[Callable[[], bytes]] = [
        lambda: draw.randbytes(draw.randrange(1, 5000)),
        lambda: good[: draw.randrange(1, len(good))],
        lambda: b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        lambda: b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        lambda: good.replace(b'"model"', b'"mo\xff\xfedel"'),
        lambda: good.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX-Length"),
        lambda: b"X: y\r\n" * 2000,
    ]
    statuses: dict[str, int] = {}
    for i in range(300):
        with socket.create_connection(("127.0.0.1", target.port), timeout=10) as connection:
            connection.settimeout(0.3)
            answer = b""
            with contextlib.suppress(OSError):
                connection.sendall(kinds[i % len(kinds)]())
                answer = connection.recv(64)
            word = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP") else "no answer"
            statuses[word] = statuses.get(word, 0) + 1
    said = ", ".join(f"{name} × {count}" for name, count in sorted(statuses.items()))
    return f"300 pieces of garbage, answered {said}"


def idle(target: Target, jobs: list[Job]) -> str:
    """Open 1,000 connections that say nothing, and ask meanwhile."""
    connections = []
    for _ in range(IDLE_CONNECTIONS):
        connections.append(socket.create_connection(("127.0.0.1", target.port), timeout=10))
    meanwhile = target.ask(jobs[-1])
    held = target.state().connections
    for connection in connections:
        connection.close()
    return (
        f"{IDLE_CONNECTIONS:,} idle connections, {held} open files then; "
        f"an answer meanwhile: {meanwhile}"
    )


def killed_and_started(command: list[str], target: Target, jobs: list[Job]) -> str:
    """Send SIGKILL in the middle of 16 streams and start the server again on its port."""

    async def begin() -> tuple[int, int]:
        readers = []
        for job in jobs[:16]:
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(target.request(job))
            await writer.drain()
            readers.append(reader)
        await asyncio.sleep(3)
        os.kill(target.pid, signal.SIGKILL)
        ends = await asyncio.wait_for(
            asyncio.gather(*(r.read() for r in readers), return_exceptions=True), 10
        )
        whole = sum(isinstance(end, bytes) and b"[DONE]" in end for end in ends)
        return whole, len(ends)

    whole, count = asyncio.run(begin())
    began = time.monotonic()
    with running(command, target.port) as process:
        ready = time.monotonic() - began
        again = Target(process.pid, target.port)
        answer = again.ask(jobs[-1])
        state = again.state()
    return (
        f"kill -9 in the middle of {count} streams ({whole} looked finished); started again on the "
        f"same port it is ready after {ready:.1f} s, the next answer takes {answer}, "
        f"{state.resident:.0f} MB"
    )


def main() -> None:
    """Go through the faults, print, perhaps write the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--quantize", default="int4")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    jobs = make_jobs(64, seed=0)
    port = free_port()
    command = [sys.executable, "-m", "openqwen", "serve", args.model, "--quantize", args.quantize]
    command += ["--port", str(port), "--name", "ours"]
    rows = []
    with running(command, port) as process:
        target = Target(process.pid, port)
        measure("127.0.0.1", port, "ours", jobs, at_once=32)  # what memory a busy server takes
        target.ask(jobs[-1])

        def note(what: str) -> None:
            target.wait_until_calm()
            answer, state = target.ask(jobs[-1]), target.state()
            rows.append(
                f"| {what} | {answer} | {state.resident:.0f} MB | {state.connections} "
                f"| {state.running}, {state.kv_used:.1f} MB |"
            )
            print(rows[-1], flush=True)

        note("before, after 64 requests")
        for fault in (vanish, dawdle, send_garbage, idle):
            note(fault(target, jobs))
        last = killed_and_started(command, target, jobs)
    body = "\n".join(
        [
            "One server, one request of the load's jobs as the probe. Memory is resident, with the "
            "mapped model file; running replies and KV memory in use are of the moment after.",
            "",
            "| what happens | the next request | memory | open files | still running, KV in use |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"{last[0].upper()}{last[1:]}.",
        ]
    )
    print(body)
    if args.write_docs:
        command_line = "python benchmarks/serve_faults.py MODEL"
        write_section(
            PERFORMANCE,
            "serve_faults",
            "Serving under faults",
            body + "\n\n" + provenance(command_line),
        )


if __name__ == "__main__":
    main()
