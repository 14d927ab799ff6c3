"""From a chat request to token ids, and what holds its reply to a form.

ids = encode_chat(served, body)
constraint = make_constraint(served, body)        # None for a free reply; one for each choice
"""

from collections.abc import Sequence
from typing import Any

from openqwen.agent.models import LocalModel
from openqwen.agent.tool_call import render_tool_messages
from openqwen.infer.constraint import Constraint
from openqwen.serve.api.chat_body import ChatBody, Message, NamedTool, SchemaFormat
from openqwen.serve.errors import ApiError
from openqwen.serve.models import ServedModel
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.tokenizer import Tokenizer


def need_tokenizer(served: ServedModel) -> Tokenizer:
    """Return a model's tokenizer.

    Raises:
        ApiError: 400 if it has none.
    """
    if served.lm.tokenizer is None:
        raise ApiError(
            400, f"{served.name} has no tokenizer; send token ids to /v1/completions", param="model"
        )
    return served.lm.tokenizer


def encode_texts(
    served: ServedModel, texts: Sequence[str | list[int]], *, param: str
) -> list[list[int]]:
    """Return the ids of texts, or ids as they are.

    Raises:
        ApiError: 400 if an id is none of the model's.
    """
    try:
        return [served.lm.encode(text) for text in texts]
    except ValueError as error:
        raise ApiError(400, str(error), param=param, code="invalid_value") from None


def encode_chat(served: ServedModel, body: ChatBody) -> list[int]:
    """Return a conversation's ids, ready for the reply; what clients write stays text.

    Raises:
        ApiError: if the model has no tokenizer.
        UserError: if the conversation cannot be rendered.
    """
    tokenizer = need_tokenizer(served)
    messages = [_plain(message) for message in body.messages]
    tools = body.told_tools()
    if tools or any("tool_calls" in m or m["role"] == "tool" for m in messages):
        opening = served.default_system or ""
        messages = [dict(m) for m in render_tool_messages(messages, tools, opening)]
        if not messages[0]["content"]:
            messages = messages[1:]
    if body.continue_final_message:
        model = LocalModel(served.lm, served.name, default_system=served.default_system)
        return model.encode(messages)
    return render(
        messages, tokenizer, add_generation_prompt=True, default_system=served.default_system
    ).ids


def make_constraint(served: ServedModel, body: ChatBody) -> Constraint | None:
    """Return what a choice's reply must be, or None; some time goes into a model's first one.

    Raises:
        UserError: if a schema cannot be followed.
    """
    if body.must_call:
        tools = [tool.model_dump(exclude_unset=True) for tool in body.tools]
        if isinstance(body.tool_choice, NamedTool):
            name = body.tool_choice.function.name
            tools = [tool for tool in tools if tool["function"]["name"] == name]
        many = body.parallel_tool_calls and not isinstance(body.tool_choice, NamedTool)
        return served.lm.grammars.tool_calls(tools, many=many)
    form = body.response_format
    if isinstance(form, SchemaFormat):
        return served.lm.grammars.json_schema(form.json_schema.schema_)
    if form is not None and form.type == "json_object":
        return served.lm.grammars.json_object()
    return None


def _plain(message: Message) -> dict[str, Any]:
    """Return a message as the template takes it."""
    role = "system" if message.role == "developer" else message.role
    plain: dict[str, Any] = {"role": role, "content": message.text()}
    if message.tool_calls:
        plain["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    return plain
