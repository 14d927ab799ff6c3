"""OpenAI's function calling with any model: natively at an endpoint, by Qwen2.5's form elsewhere.

response = complete(model, [{"role": "user", "content": "17 × 23?"}], tools, Options())
message = response["choices"][0]["message"]
for call in read_calls(message):
    messages += [message, tool_message(call, "391")]
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from openqwen.agent.models import Options, Reply, TextModel
from openqwen.agent.tool_call import parse_tool_calls, render_tool_messages
from openqwen.agent.tools import Call, Tool


@runtime_checkable
class FunctionModel(Protocol):
    """A model that takes OpenAI's messages and functions as they are."""

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        options: Options,
    ) -> dict[str, Any]:
        """Return the response, OpenAI's form."""
        ...


def complete(
    model: TextModel,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Tool],
    options: Options,
) -> dict[str, Any]:
    """Return a chat completion in OpenAI's form; its message may hold `tool_calls`.

    Raises:
        UserError: as the model raises it.
    """
    if isinstance(model, FunctionModel):
        return model.chat(messages, [tool.definition() for tool in tools], options)
    reply = model.reply([render_tool_messages(messages, tools)], options)[0]
    return as_completion(model.name, reply, bare=bool(tools))


def as_completion(name: str, reply: Reply, *, bare: bool = False) -> dict[str, Any]:
    """Return a reply in Qwen2.5's form as OpenAI's response; unreadable calls stay in the text.

    `bare` as in `parse_tool_calls`.
    """
    called = parse_tool_calls(reply.text, bare=bare)
    calls = [call for call in called.calls if call.problem is None]
    whole = len(calls) == len(called.calls)
    message = assistant_message(called.content if whole else reply.text, calls if whole else [])
    reason = "tool_calls" if "tool_calls" in message else reply.finish_reason
    if reply.finish_reason == "length":
        reason = "length"
    return {
        "object": "chat.completion",
        "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": reply.num_prompt_tokens,
            "completion_tokens": reply.num_new_tokens,
            "total_tokens": reply.num_prompt_tokens + reply.num_new_tokens,
        },
    }


def assistant_message(content: str, calls: Sequence[Call]) -> dict[str, Any]:
    """Return an assistant's message; calls without an id get one."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id or f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls
        ]
    return message


def tool_message(call: Call, text: str) -> dict[str, Any]:
    """Return a tool's result as a message."""
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def read_calls(message: Mapping[str, Any]) -> tuple[Call, ...]:
    """Return the calls of an assistant's message; what is no call has a `problem`."""
    listed = message.get("tool_calls") or []
    return tuple(_read(each) for each in listed) if isinstance(listed, list) else ()


def _read(written: Any) -> Call:
    function = written.get("function") if isinstance(written, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return Call("", str(written), problem="a tool call needs a function with a name")
    arguments = function.get("arguments")
    if arguments is None:
        arguments = ""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return Call(function["name"], arguments, str(written.get("id") or ""))
