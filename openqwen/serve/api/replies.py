"""What all generation shares: how many tokens there is room for, submitting choices, usage, SSE.

replies = await submit_all(request, served, prompts, body, max_new_tokens)
return await event_stream(request, replies, events)
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from sse_starlette.sse import EventSourceResponse

import openqwen
from openqwen.infer.constraint import Constraint
from openqwen.infer.request import Result
from openqwen.serve.api.body import GenerationBody
from openqwen.serve.errors import ApiError, error_body, internal_error
from openqwen.serve.jobs import Piece
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Service, Stream

FINGERPRINT = f"openqwen-{openqwen.__version__}"
PING_S = 15


@dataclass(frozen=True)
class Head:
    """What every event of an answer repeats."""

    kind: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, prefix: str) -> dict[str, Any]:
        """Return them; `prefix` opens the id."""
        return {
            "id": f"{prefix}-{self.id}",
            "object": self.kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


def room_for(served: ServedModel, num_prompt: int, asked: int | None, *, param: str) -> int:
    """Return the tokens of a reply: as asked, or what the context and KV memory have left.

    Raises:
        ApiError: 400 if the prompt and what is asked for don't fit into the context.
    """
    room = served.lm.context - num_prompt
    if room < 1 or (asked or 1) > room:
        wanted = "" if asked is None else f" and {asked:,} are asked for"
        raise ApiError(
            400,
            f"the context of {served.name} is {served.lm.context:,} tokens; the prompt has "
            f"{num_prompt:,}{wanted}",
            param=param,
            code="context_length_exceeded",
        )
    if asked is None:  # `Service.submit` refuses what is asked for and cannot fit
        return max(1, min(room, served.worker.engine.most_tokens - num_prompt))
    return asked


async def submit_all(
    request: Request,
    served: ServedModel,
    prompts: Sequence[tuple[Sequence[int], int]],
    body: GenerationBody,
    *,
    make: Callable[[], Constraint | None] = lambda: None,
    **settings: Any,
) -> list[Stream]:
    """Queue `n` choices of each prompt (ids, tokens of the reply); return their streams in order.

    Args:
        request: whose client asks; what it has submitted ends with it.
        served: the model.
        prompts: what to answer.
        body: how.
        make: makes each choice's constraint, in a thread: a model's first one takes a second.
        settings: of the sampling, beside the body's.

    Raises:
        ApiError: as `Service.submit`.
        UserError: if a setting is wrong for this model.
    """
    service: Service = request.app.state.service
    seed, streams = body.first_seed(), list[Stream]()
    for ids, max_new_tokens in prompts:
        for choice in range(body.n):
            made = served.request(
                list(ids),
                constraint=await asyncio.to_thread(make),
                seed=seed + choice,
                **body.sampling(max_new_tokens),
                **settings,
            )
            streams.append(await service.submit(served, made, client=request.state.client))
    return streams


async def collect(stream: Stream) -> tuple[Result, Piece]:
    """Wait for a reply; return it with all its tokens as one piece.

    Raises:
        ApiError: if it ends badly.
    """
    result = await stream.collect()
    check_end(result)
    return result, Piece(result.text, result.ids, result.logprobs, result.top_logprobs)


def check_end(result: Result) -> None:
    """Raise the error of a reply that did not end by itself or at its length.

    Raises:
        ApiError: 400 where its schema could not be followed, 503 where it was cut off, else 500.
    """
    if result.finish_reason == "error":
        if result.error:
            raise ApiError(400, f"the reply cannot go on: {result.error}", code="invalid_value")
        raise internal_error("the model's numbers broke down; the reply is lost")
    if result.finish_reason == "cancelled":
        raise ApiError(503, "the reply was cut off", type="server_error", code="cancelled")


def count_usage(results: Sequence[Result], num_choices: int) -> dict[str, Any]:
    """Return tokens of all replies; a prompt counts once for all its choices, by the first."""
    firsts = results[::num_choices]
    prompt = sum(result.num_prompt_tokens for result in firsts)
    new = sum(result.num_new_tokens for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {
            "cached_tokens": sum(result.num_shared_tokens for result in firsts)
        },
    }


async def event_stream(
    streams: Sequence[Stream], events: AsyncIterator[dict[str, Any]]
) -> EventSourceResponse:
    """Return events as they come, once the first reply has begun; a failure is an event itself.

    Raises:
        ApiError: if a reply is refused before it begins.
    """
    await streams[0].started()

    async def lines() -> AsyncIterator[dict[str, str]]:
        try:
            async for event in events:
                yield {"data": json.dumps(event, ensure_ascii=False, separators=(",", ":"))}
        except ApiError as error:
            yield {"data": json.dumps(error_body(error), ensure_ascii=False)}
        finally:
            for stream in streams:
                stream.cancel()
        yield {"data": "[DONE]"}

    return EventSourceResponse(lines(), ping=PING_S, headers={"x-accel-buffering": "no"})


async def merge(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, Piece | None]]:
    """Yield the pieces of all streams with their numbers, as they come; None ends one.

    Raises:
        ApiError: if one ends badly.
    """
    if len(streams) == 1:
        async for piece in streams[0]:
            yield 0, piece
        yield 0, None
        return
    news: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue()

    async def follow(number: int, stream: Stream) -> None:
        try:
            async for piece in stream:
                news.put_nowait((number, piece))
            news.put_nowait((number, None))
        except ApiError as error:
            news.put_nowait((number, error))

    tasks = [asyncio.create_task(follow(i, stream)) for i, stream in enumerate(streams)]
    try:
        left = len(streams)
        while left:
            number, item = await news.get()
            if isinstance(item, Exception):
                raise item
            left -= item is None
            yield number, item
    finally:
        for task in tasks:
            task.cancel()
