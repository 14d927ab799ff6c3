"""Conversations in the forms people have, as one list of messages: role and content.

    messages_of({"conversations": [{"from": "human", "value": "Hi"}, …], "tools": "[…]"})

OpenAI (`messages`, with tool calls), ShareGPT (`conversations`) and Alpaca (`instruction`,
`output`). Tools become text: described in the system message, called by the assistant, answered by
messages of the role tool.
"""

import json
from typing import Any

from openqwen.core.documents import Message
from openqwen.data.training.tool_text import call_text, describe_tools
from openqwen.tokenizer.template import DEFAULT_SYSTEM

ROLE_OF = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_call": "call",
}
FORMS = ("messages", "conversations", "instruction")


class BadRowError(Exception):
    """A row that can't be used; the text says why, in words that rows of a kind share."""


def messages_of(row: dict[str, Any]) -> list[Message]:
    """Return a row's conversation.

    Raises:
        BadRowError: if it has none of the forms, or what is there is not whole.
    """
    if row.get("messages") is not None:
        messages = _turns(row["messages"], "role", "content")
    elif row.get("conversations") is not None:
        messages = _turns(row["conversations"], "from", "value")
    elif row.get("instruction") is not None:
        return _alpaca(row)
    else:
        raise BadRowError("no messages, conversations or instruction")
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages = [{"role": "system", "content": row["system"]}, *messages]
    return _with_tools(messages, row.get("tools"))


def check_dialogue(messages: list[Message]) -> None:
    """Refuse what can't be learnt from: nobody asks, nobody answers, or an answer is empty.

    Raises:
        BadRowError: with the reason.
    """
    spoken = [m for m in messages if m["role"] != "system"]
    if not spoken or spoken[0]["role"] != "user":
        raise BadRowError("the first turn is not the user's")
    if not any(m["role"] == "assistant" for m in spoken):
        raise BadRowError("no assistant turn")
    if any(m["role"] == "assistant" and not m["content"].strip() for m in spoken):
        raise BadRowError("empty assistant turn")


def text(name: str, value: Any) -> str:
    """Return a value that must be a text."""
    if not isinstance(value, str):
        raise BadRowError(f"{name} is no text")
    return value


def _turns(value: Any, role_key: str, content_key: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadRowError("messages is no list with content")
    messages = []
    for turn in value:
        role = turn.get(role_key) if isinstance(turn, dict) else None
        if not isinstance(role, str) or role not in ROLE_OF:
            raise BadRowError("message without a known role")
        content = turn.get(content_key)
        if ROLE_OF[role] == "call":
            messages.append({"role": "assistant", "content": _spoken_call(text("call", content))})
            continue
        calls = turn.get("tool_calls")
        if calls:
            content = "\n".join([*([content] if content else []), *_openai_calls(calls)])
        elif isinstance(content, list):
            content = _joined_parts(content)
        messages.append({"role": ROLE_OF[role], "content": text("message", content)})
    return messages


def _joined_parts(parts: list[Any]) -> str:
    """Return the text of a message in parts; pictures and sounds are not read."""
    if not all(isinstance(p, dict) and p.get("type") == "text" for p in parts):
        raise BadRowError("message with parts that are no text")
    return "".join(text("message", part.get("text")) for part in parts)


def _openai_calls(calls: Any) -> list[str]:
    try:
        functions = [call["function"] for call in calls]
        return [call_text(text("call", f["name"]), f["arguments"]) for f in functions]
    except (TypeError, KeyError):
        raise BadRowError("tool_calls of another form") from None


def _spoken_call(value: str) -> str:
    """Return a ShareGPT call, one JSON object or a list of them, as the assistant's text."""
    try:
        parsed = json.loads(value)
        calls = parsed if isinstance(parsed, list) else [parsed]
        return "\n".join(call_text(text("call", c["name"]), c["arguments"]) for c in calls)
    except (ValueError, TypeError, KeyError):
        raise BadRowError("tool call that is no JSON of name and arguments") from None


def _with_tools(messages: list[Message], tools: Any) -> list[Message]:
    """Put the description of the tools, if any, at the end of the system message."""
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except ValueError:
            raise BadRowError("tools is no JSON list") from None
    if not tools:
        return messages
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRowError("tools is no JSON list")
    described = describe_tools(tools)
    if messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{messages[0]['content']}\n\n{described}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": f"{DEFAULT_SYSTEM}\n\n{described}"}, *messages]


def _alpaca(row: dict[str, Any]) -> list[Message]:
    """Return the conversation of an Alpaca row; the input stands below the instruction."""
    instruction = text("instruction", row["instruction"])
    output = text("output", row.get("output"))
    if not instruction.strip() or not output.strip():
        raise BadRowError("empty instruction or output")
    messages = []
    if row.get("system"):
        messages.append({"role": "system", "content": text("system", row["system"])})
    for turn in row.get("history") or []:
        if not isinstance(turn, list) or len(turn) != 2:
            raise BadRowError("history is no list of question and answer")
        messages.append({"role": "user", "content": text("history", turn[0])})
        messages.append({"role": "assistant", "content": text("history", turn[1])})
    extra = text("input", row.get("input") or "")
    question = f"{instruction}\n{extra}" if extra.strip() else instruction
    return [
        *messages,
        {"role": "user", "content": question},
        {"role": "assistant", "content": output},
    ]
