"""The API's answers, as the OpenAPI document describes them; OpenAI's forms."""

from typing import Any, Literal

from pydantic import BaseModel, Field

FinishReason = Literal["stop", "length", "tool_calls"]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """Every answer with a status from 400 up."""

    error: ErrorDetail


class PromptDetails(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int = Field(description="found computed, as an earlier prompt began the same")


class Usage(BaseModel):
    """Tokens of a request, all its choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class TopLogprob(BaseModel):
    """One of the likeliest tokens."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """A token of the reply."""

    top_logprobs: list[TopLogprob] = []


class ChatLogprobs(BaseModel):
    """Log-probabilities of a reply's tokens under the model, before any filter."""

    content: list[TokenLogprob]
    refusal: None = None


class CalledFunction(BaseModel):
    """A function and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """A reply."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One of the replies."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatAnswer(BaseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str


class CompletionLogprobs(BaseModel):
    """Log-probabilities in the older form; entry i is of token i."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class CompletionAnswer(BaseModel):
    """A text completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str


class Embedding(BaseModel):
    """One text's vector: numbers, or their float32 bytes in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Vectors of texts, in order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class ModelCard(BaseModel):
    """A model, or an adapter on one (`parent`)."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "openqwen"
    root: str
    parent: str | None
    max_model_len: int


class ModelList(BaseModel):
    """All that is served."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class TokensAnswer(BaseModel):
    """A text's tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    texts: list[str] = Field(description="of each token alone; half characters show as �")


class TextAnswer(BaseModel):
    """The text of tokens."""

    text: str


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {
                "schema": {"type": "object", "properties": {"data": {"type": "string"}}}
            }
        },
        "description": "the answer; with stream, its pieces as server-sent events",
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "the request is wrong, and the message says where"},
    401: {"model": ErrorAnswer, "description": "no key, or a wrong one"},
    403: {"model": ErrorAnswer, "description": "another site's page, or an unknown host name"},
    404: {"model": ErrorAnswer, "description": "no such model"},
    408: {"model": ErrorAnswer, "description": "the body came too slowly"},
    413: {"model": ErrorAnswer, "description": "the body is too long"},
    429: {"model": ErrorAnswer, "description": "the queue is full, or a limit is reached"},
    503: {"model": ErrorAnswer, "description": "the server stops, or the wait was too long"},
}
