"""/v1/embeddings: texts as vectors, the mean of a model's last hidden states over their tokens."""

import asyncio
import base64
import functools
from typing import Any, Literal, Self

from fastapi import FastAPI, Request
from pydantic import Field, model_validator
from torch import Tensor

from openqwen.infer.embed import passes_of
from openqwen.serve.api.answers import ERRORS, EmbeddingAnswer
from openqwen.serve.api.body import Body
from openqwen.serve.api.prompts import encode_texts
from openqwen.serve.api.replies import room_for
from openqwen.serve.errors import ApiError
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Service

MOST_TEXTS = 2048


class EmbeddingBody(Body):
    """A request to /v1/embeddings."""

    model: str
    input: str | list[str] | list[int] | list[list[int]] = Field(
        description="text or ids, one or up to 2,048"
    )
    encoding_format: Literal["float", "base64"] = "float"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.input or (isinstance(self.input, list) and not all_filled(self.input)):
            raise ValueError("input: there is an empty text")
        if len(self.texts()) > MOST_TEXTS:
            raise ValueError(f"input: at most {MOST_TEXTS:,} texts")
        return self

    def texts(self) -> list[str | list[int]]:
        """Return the texts one by one."""
        if isinstance(self.input, str) or isinstance(self.input[0], int):
            return [self.input]
        return list(self.input)


def all_filled(texts: list[Any]) -> bool:
    """Return whether no text of a list is empty; ids are not texts."""
    return all(text or isinstance(text, int) for text in texts)


def add_embeddings(app: FastAPI) -> None:
    """Add the route."""

    @app.post("/v1/embeddings", response_model=EmbeddingAnswer, responses=ERRORS, tags=["texts"])
    async def embeddings(body: EmbeddingBody, request: Request) -> Any:
        """Return a vector for each text: the mean of the last hidden states of its tokens."""
        served: ServedModel = request.app.state.models.get(body.model)
        if served.adapter is not None:
            raise ApiError(
                400, "embeddings are the base model's; ask for it by name", param="model"
            )
        texts = await asyncio.to_thread(encode_texts, served, body.texts(), param="input")
        for ids in texts:
            room_for(served, len(ids) - 1, None, param="input")
        service: Service = request.app.state.service
        vectors: dict[int, Tensor] = {}
        for places in passes_of([len(ids) for ids in texts]):  # streams go on between passes
            some = [texts[i] for i in places]
            made: Tensor = await service.run(
                served,
                functools.partial(served.lm.embed, some),
                client=request.state.client,
                cost=sum(map(len, some)),
            )
            vectors |= dict(zip(places, made, strict=True))
        count = sum(map(len, texts))
        return {
            "data": [
                {"index": i, "embedding": _written(vectors[i], body.encoding_format)}
                for i in range(len(texts))
            ],
            "model": served.name,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }


def _written(vector_D: Tensor, form: str) -> list[float] | str:
    if form == "float":
        return [float(x) for x in vector_D]
    return base64.b64encode(vector_D.float().numpy().astype("<f4").tobytes()).decode()
