"""/v1/chat/completions: conversations, tools, answers of a form, streamed or whole."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI, Request

from openqwen.serve.api.answers import ERRORS, STREAMED, ChatAnswer
from openqwen.serve.api.called import CallingReply
from openqwen.serve.api.chat_body import ChatBody
from openqwen.serve.api.prompts import encode_chat, make_constraint
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
from openqwen.serve.api.tokens_told import chat_logprobs
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Stream

PREFIX = "chatcmpl"


def add_chat(app: FastAPI) -> None:
    """Add the route."""

    @app.post(
        "/v1/chat/completions",
        response_model=ChatAnswer,
        response_model_exclude_unset=True,
        responses=STREAMED | ERRORS,
        tags=["generation"],
    )
    async def chat_completions(body: ChatBody, request: Request) -> Any:
        """Answer a conversation; with `stream` as server-sent events, the last one [DONE]."""
        served: ServedModel = request.app.state.models.get(body.model)
        ids = await asyncio.to_thread(encode_chat, served, body)
        asked = body.max_completion_tokens or body.max_tokens
        room = room_for(served, len(ids), asked, param="messages")
        streams = await submit_all(
            request,
            served,
            [(ids, room)],
            body,
            make=lambda: make_constraint(served, body),
            logprobs=body.logprobs,
            top_logprobs=body.top_logprobs,
        )
        if body.stream:
            return await event_stream(streams, _events(served, body, streams))
        return await _whole(served, body, streams)


async def _whole(served: ServedModel, body: ChatBody, streams: Sequence[Stream]) -> dict[str, Any]:
    """Return the answer once all choices are complete."""
    replies = await asyncio.gather(*(collect(stream) for stream in streams))
    choices = []
    for index, (result, piece) in enumerate(replies):
        message, reason = CallingReply(served.name, is_called=bool(body.told_tools())).finish(
            result
        )
        choices.append(
            {
                "index": index,
                "message": {"refusal": None, **message},
                "logprobs": chat_logprobs(served, piece, ignore_eos=body.ignore_eos),
                "finish_reason": reason,
            }
        )
    head = Head("chat.completion", served.name)
    usage = count_usage([result for result, _ in replies], body.n)
    return head.fields(PREFIX) | {"choices": choices, "usage": usage}


async def _events(
    served: ServedModel, body: ChatBody, streams: Sequence[Stream]
) -> AsyncIterator[dict[str, Any]]:
    """Yield an answer's events."""
    head = Head("chat.completion.chunk", served.name).fields(PREFIX)
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    head |= {"usage": None} if wants_usage else {}
    told = bool(body.told_tools())
    replies = [CallingReply(served.name, is_called=told) for _ in streams]

    def event(
        index: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return head | {"choices": [choice]}

    for index in range(len(streams)):
        yield event(index, {"role": "assistant", "content": ""})
    async for index, piece in merge(streams):
        if piece is not None:
            text = replies[index].push(piece.text)
            logprobs = chat_logprobs(served, piece, ignore_eos=body.ignore_eos)
            if text or logprobs:
                yield event(index, {"content": text}, logprobs=logprobs)
            continue
        result = streams[index].result
        assert result is not None
        check_end(result)
        message, reason = replies[index].finish(result)
        if message["content"]:
            yield event(index, {"content": message["content"]})
        for number, call in enumerate(message.get("tool_calls", ())):
            yield event(index, {"tool_calls": [{"index": number, **call}]})
        yield event(index, {}, reason)
    if wants_usage:
        results = [stream.result for stream in streams if stream.result is not None]
        yield head | {"choices": [], "usage": count_usage(results, body.n)}
