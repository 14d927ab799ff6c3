"""/v1/completions: texts continued, without a template."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Self

from fastapi import FastAPI, Request
from pydantic import Field, model_validator

from openqwen.serve.api.answers import ERRORS, STREAMED, CompletionAnswer
from openqwen.serve.api.body import MOST_NEW_TOKENS, GenerationBody
from openqwen.serve.api.prompts import encode_texts
from openqwen.serve.api.replies import (
    Head,
    check_end,
    collect,
    count_usage,
    event_stream,
    merge,
    room_for,
    submit_all,
)
from openqwen.serve.api.tokens_told import text_logprobs
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Stream

PREFIX = "cmpl"
MOST_PROMPTS, MOST_REPLIES = 128, 128


class CompletionBody(GenerationBody):
    """A request to /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        "", description="text or ids, one or up to 128; empty text begins a document"
    )
    max_tokens: int = Field(16, ge=1, le=MOST_NEW_TOKENS)
    logprobs: int | None = Field(None, ge=0, le=5, description="so many of the likeliest tokens")
    echo: bool = Field(False, description="put the prompt before the reply")
    best_of: int | None = Field(None, ge=1)
    suffix: Literal[""] = Field("", description="must be empty: models here read to the left only")

    @model_validator(mode="after")
    def _check_completion(self) -> Self:
        if isinstance(self.prompt, list) and not 1 <= len(self.prompt) <= (
            MOST_NEW_TOKENS if isinstance(self.prompt[:1], list) and self.is_ids else MOST_PROMPTS
        ):
            raise ValueError(f"prompt: give 1 to {MOST_PROMPTS} texts")
        if len(self.prompts()) * self.n > MOST_REPLIES:
            raise ValueError(f"n: prompts times n are at most {MOST_REPLIES}")
        if self.best_of not in (None, self.n):
            raise ValueError("best_of: choices are not ranked here; it may only equal n")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo: log-probabilities of a prompt are not given here")
        return self

    @property
    def is_ids(self) -> bool:
        """Return whether the prompt is one list of ids."""
        return isinstance(self.prompt, list) and isinstance(self.prompt[0], int)

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts one by one."""
        if isinstance(self.prompt, str) or self.is_ids:
            return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


def add_completions(app: FastAPI) -> None:
    """Add the route."""

    @app.post(
        "/v1/completions",
        response_model=CompletionAnswer,
        responses=STREAMED | ERRORS,
        tags=["generation"],
    )
    async def completions(body: CompletionBody, request: Request) -> Any:
        """Continue texts; with `stream` as server-sent events, the last one [DONE]."""
        served: ServedModel = request.app.state.models.get(body.model)
        prompts = await asyncio.to_thread(encode_texts, served, body.prompts(), param="prompt")
        sized = [(i, room_for(served, len(i), body.max_tokens, param="prompt")) for i in prompts]
        streams = await submit_all(
            request,
            served,
            sized,
            body,
            logprobs=body.logprobs is not None,
            top_logprobs=body.logprobs or 0,
        )
        echoes = [_text(served, i) if body.echo else "" for i in prompts for _ in range(body.n)]
        if body.stream:
            return await event_stream(streams, _events(served, body, streams, echoes))
        return await _whole(served, body, streams, echoes)


def _text(served: ServedModel, ids: Sequence[int]) -> str:
    tokenizer = served.lm.tokenizer
    return "" if tokenizer is None else tokenizer.decode(list(ids))


async def _whole(
    served: ServedModel, body: CompletionBody, streams: Sequence[Stream], echoes: Sequence[str]
) -> dict[str, Any]:
    replies = await asyncio.gather(*(collect(stream) for stream in streams))
    choices = [
        {
            "index": index,
            "text": echoes[index] + result.text,
            "logprobs": text_logprobs(served, piece, 0, ignore_eos=body.ignore_eos),
            "finish_reason": result.finish_reason,
        }
        for index, (result, piece) in enumerate(replies)
    ]
    usage = count_usage([result for result, _ in replies], body.n)
    head = Head("text_completion", served.name).fields(PREFIX)
    return head | {"choices": choices, "usage": usage}


async def _events(
    served: ServedModel, body: CompletionBody, streams: Sequence[Stream], echoes: Sequence[str]
) -> AsyncIterator[dict[str, Any]]:
    head = Head("text_completion", served.name).fields(PREFIX)
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    head |= {"usage": None} if wants_usage else {}
    lengths = [0] * len(streams)

    def event(index: int, text: str, reason: str | None = None, logprobs: Any = None) -> Any:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return head | {"choices": [choice]}

    for index, echo in enumerate(echoes):
        if echo:
            yield event(index, echo)
    async for index, piece in merge(streams):
        if piece is not None:
            logprobs = text_logprobs(served, piece, lengths[index], ignore_eos=body.ignore_eos)
            lengths[index] += len(piece.text)
            if piece.text or logprobs:
                yield event(index, piece.text, logprobs=logprobs)
            continue
        result = streams[index].result
        assert result is not None
        check_end(result)
        yield event(index, "", result.finish_reason)
    if wants_usage:
        results = [stream.result for stream in streams if stream.result is not None]
        yield head | {"choices": [], "usage": count_usage(results, body.n)}
