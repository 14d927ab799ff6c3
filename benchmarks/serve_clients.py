"""Clients of an OpenAI-compatible server, all at once or one by one; standard library only.

    jobs = make_jobs(64, seed=0)
    run = measure("127.0.0.1", 8000, "model", jobs, at_once=64)
    run.seconds, run.streams[0].text

Each job has a code of its own to repeat, so that streams that were mixed up would show.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

WORDS = (
    *("river", "stone", "window", "market", "letter", "garden", "engine", "winter", "planet"),
    *("silver", "bridge", "paper", "forest", "music", "number", "kitchen", "signal", "harbour"),
    *("lesson", "captain", "velvet", "island", "thunder", "ribbon", "lantern"),
)
LIMIT_S = 900.0  # of one stream


@dataclass(frozen=True)
class Job:
    """One conversation to answer.

    Attributes:
        code: stands in the question and, if streams are not mixed up, in no other's answer.
        messages: OpenAI's form.
        max_tokens: the reply has exactly so many, whatever the model would end it with.
    """

    code: str
    messages: list[dict[str, str]]
    max_tokens: int


@dataclass
class Stream:
    """What came of one job: when each piece arrived, in seconds from when it was asked for."""

    text: str = ""
    arrivals: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    new_tokens: int = 0
    problem: str = ""

    @property
    def first_s(self) -> float:
        """Return the seconds until the first piece."""
        return self.arrivals[0]

    @property
    def gaps_s(self) -> list[float]:
        """Return the seconds between pieces."""
        return [b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False)]


@dataclass
class Run:
    """All streams of one turn and its wall time."""

    streams: list[Stream]
    seconds: float

    @property
    def tokens_s(self) -> float:
        """Return new tokens a second over the whole turn, reading the prompts included."""
        return sum(s.new_tokens for s in self.streams) / self.seconds


def make_jobs(count: int, *, seed: int, longest: int = 192) -> list[Job]:
    """Return jobs: questions of 5 to 60 words, answers of longest / 3 to longest tokens."""
    draw = random.Random(seed)
    jobs = []
    for i in range(count):
        code = f"{WORDS[i % len(WORDS)]}-{draw.randrange(1000, 9999)}"
        num_words = round(5 * 12 ** draw.random())
        story = " ".join(draw.choice(WORDS) for _ in range(num_words))
        question = (
            f"Here are some words: {story}. My code is {code}. "
            f"Write a list in which every line is my code {code} and one of these words."
        )
        jobs.append(
            Job(
                code,
                [{"role": "user", "content": question}],
                round(longest / 3 * 3 ** draw.random()),
            )
        )
    return jobs


def measure(host: str, port: int, model: str, jobs: list[Job], *, at_once: int) -> Run:
    """Ask for all jobs with so many clients at a time; return what came."""
    return asyncio.run(_measure(host, port, model, jobs, at_once))


async def _measure(host: str, port: int, model: str, jobs: list[Job], at_once: int) -> Run:
    gate = asyncio.Semaphore(at_once)

    async def ask(job: Job) -> Stream:
        async with gate:
            stream = Stream()
            try:
                await asyncio.wait_for(_ask(host, port, model, job, stream), LIMIT_S)
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                stream.problem = f"{type(error).__name__}: {error}"
            return stream

    began = time.perf_counter()
    streams = await asyncio.gather(*(ask(job) for job in jobs))
    return Run(streams, time.perf_counter() - began)


async def _ask(host: str, port: int, model: str, job: Job, stream: Stream) -> None:
    """Send one request and read its events into `stream`."""
    body = {
        "model": model,
        "messages": job.messages,
        "max_tokens": job.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    data = json.dumps(body).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port, limit=2**22)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + data
    )
    await writer.drain()
    status = (await reader.readline()).decode().split(" ", 2)
    if status[1] != "200":
        raise ValueError(f"{status[1]}: {(await reader.read())[-300:]!r}")
    while True:
        line = await reader.readline()
        if not line:
            raise ValueError("the stream ended without [DONE]")
        if not line.startswith(b"data: "):
            continue  # the response's headers and the lengths of its chunks
        event = line[6:].strip()
        if event == b"[DONE]":
            break
        _take(json.loads(event), stream, time.perf_counter() - began)
    writer.close()


def _take(event: dict[str, Any], stream: Stream, at: float) -> None:
    if "error" in event:
        raise ValueError(str(event["error"]))
    usage = event.get("usage")
    if usage:
        stream.prompt_tokens = usage["prompt_tokens"]
        stream.new_tokens = usage["completion_tokens"]
    for choice in event.get("choices") or []:
        text = choice["delta"].get("content")
        if text:
            stream.text += text
            stream.arrivals.append(at)
