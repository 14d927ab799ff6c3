"""A chat completion's request: messages, tools, forms of answers.

ChatBody.model_validate({"model": "qwen", "messages": [{"role": "user", "content": "Hi"}]})
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from openqwen.serve.api.body import MOST_NEW_TOKENS, Body, GenerationBody

NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
MOST_MESSAGES, MOST_TOOLS = 10_000, 256


class TextPart(Body):
    """A part of a message; there are no others, as the models here read text only."""

    type: Literal["text"]
    text: str


class CalledFunction(Body):
    """What an assistant called."""

    name: str = Field(min_length=1)
    arguments: str = Field(description="JSON, as the model wrote it")


class ToolCall(Body):
    """An assistant's call in the history."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Body):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = Field(None, description="taken, and ignored")
    refusal: str | None = Field(None, description="taken, and ignored")
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tool_calls is not None and self.role != "assistant":
            raise ValueError(f"tool_calls belong to the role assistant, not {self.role}")
        if self.content is None and not self.tool_calls:
            raise ValueError(f"the role {self.role} needs content")
        if (self.tool_call_id is None) == (self.role == "tool"):
            raise ValueError("the role tool, and no other, needs tool_call_id")
        return self

    def text(self) -> str:
        """Return the content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Function(Body):
    """A function that the model may call."""

    name: str = Field(description="letters, digits, _, . and -, at most 64")
    description: str = ""
    parameters: dict[str, Any] | None = Field(None, description="JSON schema of an object")
    strict: bool = Field(False, description="refuse schemas that cannot be followed to the letter")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name[:80]!r} is no function's name")
        if self.parameters and self.parameters.get("type", "object") != "object":
            raise ValueError(f"parameters of {self.name} must be of type object")
        return self


class Tool(Body):
    """A tool, which is a function."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """A function by its name."""

    name: str


class NamedTool(Body):
    """The one tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class Schema(Body):
    """A JSON schema with a name."""

    name: str = "reply"
    description: str | None = None
    schema_: dict[str, Any] = Field({}, alias="schema")
    strict: bool = Field(True, description="taken; replies always follow the schema")


class PlainFormat(Body):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: Schema


def _kind_of_format(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", "")
    return "schema" if kind == "json_schema" else "plain"


Format = Annotated[
    Annotated[PlainFormat, Tag("plain")] | Annotated[SchemaFormat, Tag("schema")],
    Discriminator(_kind_of_format),
]


class ChatBody(GenerationBody):
    """A request to /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MOST_NEW_TOKENS, description="of a reply; what the context has left"
    )
    max_tokens: int | None = Field(
        None, ge=1, le=MOST_NEW_TOKENS, description="the same by its older name"
    )
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    tools: list[Tool] = Field([], max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    modalities: list[Literal["text"]] = Field([], description="there is no other")
    parallel_tool_calls: bool = Field(True, description="false: a forced call is the only one")
    response_format: Format | None = None
    continue_final_message: bool = Field(
        False, description="extension: go on with the last message, which is the assistant's"
    )

    @model_validator(mode="after")
    def _check_chat(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs = true")
        names = [tool.function.name for tool in self.tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"tools: two functions are called {twice}")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(
                f"tool_choice: there is no tool {self.tool_choice.function.name!r}; there are: "
                + (", ".join(names) or "none")
            )
        if self.tool_choice in ("auto", "required") and not self.tools:
            raise ValueError(f"tool_choice: {self.tool_choice} needs tools")
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise ValueError("continue_final_message needs a last message of the assistant's")
        if self.must_call and self.continue_final_message:
            raise ValueError("a forced tool call cannot go on with the last message")
        if self.must_call and self.has_form:
            raise ValueError("response_format and a forced tool call exclude each other")
        return self

    @property
    def must_call(self) -> bool:
        """Return whether the reply must be a call."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

    @property
    def has_form(self) -> bool:
        """Return whether the reply must be JSON."""
        return self.response_format is not None and self.response_format.type != "text"

    def told_tools(self) -> list[dict[str, Any]]:
        """Return the tools that the model is told of, in OpenAI's form."""
        if self.tool_choice == "none":
            return []
        tools = [tool.model_dump(exclude_unset=True) for tool in self.tools]
        for tool in tools:
            tool["function"].pop("strict", None)
            tool["function"].setdefault("parameters", {"type": "object", "properties": {}})
        return tools
