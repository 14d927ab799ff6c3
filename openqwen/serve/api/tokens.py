"""/tokenize and /detokenize: what a text or a conversation is to a model."""

import asyncio
from typing import Any, Self

from fastapi import FastAPI, Request
from pydantic import Field, model_validator

from openqwen.serve.api.answers import ERRORS, TextAnswer, TokensAnswer
from openqwen.serve.api.body import MOST_NEW_TOKENS, Body
from openqwen.serve.api.chat_body import ChatBody, Message, Tool
from openqwen.serve.api.prompts import encode_chat, need_tokenizer
from openqwen.serve.api.tokens_told import token_text
from openqwen.serve.errors import ApiError
from openqwen.serve.models import ServedModel


class TokenizeBody(Body):
    """A request to /tokenize: a text, or a conversation as it is sent for an answer."""

    model: str
    text: str | None = None
    messages: list[Message] | None = Field(None, min_length=1)
    tools: list[Tool] = Field([])

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give text or messages, one of them")
        if self.tools and self.messages is None:
            raise ValueError("tools go with messages")
        return self


class DetokenizeBody(Body):
    """A request to /detokenize."""

    model: str
    tokens: list[int] = Field(max_length=MOST_NEW_TOKENS)


def add_tokens(app: FastAPI) -> None:
    """Add the routes."""

    @app.post("/tokenize", response_model=TokensAnswer, responses=ERRORS, tags=["texts"])
    async def tokenize(body: TokenizeBody, request: Request) -> Any:
        """Return the tokens of a text; control tokens come from a conversation's template only."""
        served: ServedModel = request.app.state.models.get(body.model)
        ids = await asyncio.to_thread(_encode, served, body)
        return {
            "count": len(ids),
            "max_model_len": served.lm.context,
            "tokens": ids,
            "texts": [token_text(served, i) for i in ids],
        }

    @app.post("/detokenize", response_model=TextAnswer, responses=ERRORS, tags=["texts"])
    async def detokenize(body: DetokenizeBody, request: Request) -> Any:
        """Return the text of tokens; bytes that are no characters show as the replacement sign."""
        served: ServedModel = request.app.state.models.get(body.model)
        tokenizer = need_tokenizer(served)
        bad = next((i for i in body.tokens if not tokenizer.has_id(i)), None)
        if bad is not None:
            raise ApiError(400, f"there is no token {bad}", param="tokens", code="invalid_value")
        return {"text": tokenizer.decode_bytes(body.tokens).decode(errors="replace")}


def _encode(served: ServedModel, body: TokenizeBody) -> list[int]:
    if body.text is not None:
        return need_tokenizer(served).encode(body.text)
    chat = ChatBody.model_construct(
        messages=body.messages, tools=body.tools, tool_choice=None, continue_final_message=False
    )
    return encode_chat(served, chat)
