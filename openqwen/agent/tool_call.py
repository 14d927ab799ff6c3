"""Qwen2.5's form of tool use: `<tools>` in the system prompt, `<tool_call>` in the reply.

    messages = render_tool_messages([{"role": "user", "content": "17 × 23?"}], tools)
    called = parse_tool_calls(model.reply([messages], options)[0].text)
    called.calls[0].name, called.calls[0].arguments

The texts are those of the chat template that Qwen2.5's files carry. `<tool_call>` and its closing
tag are single tokens there (151657, 151658); they become those ids where the template writes them,
in the system prompt and around earlier calls, and never in what users, tools or descriptions say.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.agent.models import Message
from openqwen.agent.relaxed_json import parse_relaxed, strip_fence
from openqwen.agent.tools import Call, Tool
from openqwen.core.errors import UserError
from openqwen.tokenizer.template import TemplateText

QWEN25_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
OPEN, CLOSE = "<tool_call>", "</tool_call>"
_BEFORE_TOOLS = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_AFTER_TOOLS = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within "
)
_CALL = re.compile(rf"{OPEN}\s*(.*?)\s*(?:{CLOSE}|\Z)", re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class Called:
    """A reply's parts: what it says besides, and its calls in order."""

    content: str
    calls: tuple[Call, ...]


def tool_system(
    tools: Sequence[Tool | Mapping[str, Any]], system: str = QWEN25_SYSTEM
) -> TemplateText:
    """Return the system prompt that tells of tools.

    Args:
        tools: tools, or their descriptions in OpenAI's form, which are written as they are.
        system: what stands before.
    """
    definitions = [each.definition() if isinstance(each, Tool) else each for each in tools]
    listed = "".join("\n" + json.dumps(each, ensure_ascii=False) for each in definitions)
    return TemplateText(
        [
            (f"{system}{_BEFORE_TOOLS}{listed}{_AFTER_TOOLS}", False),
            (OPEN, True),
            (CLOSE, True),
            (" XML tags:\n", False),
            (OPEN, True),
            ('\n{"name": <function-name>, "arguments": <args-json-object>}\n', False),
            (CLOSE, True),
        ]
    )


def render_tool_messages(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Tool | Mapping[str, Any]],
    system: str = QWEN25_SYSTEM,
) -> list[Message]:
    """Return a conversation in OpenAI's form as Qwen2.5's template writes it, without headers.

    Args:
        messages: with `tool_calls` in assistants' and the role `tool` for results.
        tools: as in `tool_system`; none leaves the system prompt alone.
        system: used where the first message is no system prompt.

    Raises:
        UserError: if a message has no role, or a call can't be read.
    """
    rest = list(messages)
    for i, message in enumerate(rest):
        if "role" not in message:
            raise UserError(f"message {i} has no role")
    if rest and rest[0]["role"] == "system":
        system = str(rest.pop(0).get("content") or "")
    opening = tool_system(tools, system) if tools else system
    rendered: list[Message] = [{"role": "system", "content": opening}]
    results: list[str] = []
    for i, message in enumerate(rest):
        content = message.get("content") or ""
        if message["role"] == "tool":
            results.append(f"<tool_response>\n{content}\n</tool_response>")
            if i + 1 == len(rest) or rest[i + 1]["role"] != "tool":
                rendered.append({"role": "user", "content": "\n".join(results)})
                results = []
        elif message["role"] == "assistant" and message.get("tool_calls"):
            text = _render_calls(content, message["tool_calls"])
            rendered.append({"role": "assistant", "content": text})
        else:
            rendered.append({"role": message["role"], "content": content})
    return rendered


def parse_tool_calls(text: str, *, bare: bool = False) -> Called:
    """Return a reply's calls; one that can't be read has a `problem` instead of arguments.

    A call whose closing tag is missing counts if its JSON is whole.

    Args:
        text: the reply.
        bare: a reply that is nothing but calls' JSON counts without the tags, in a code fence or
            not: Qwen2.5-Coder leaves them out.
    """
    found = _bare_calls(text) if bare and OPEN not in text else ()
    if found:
        return Called("", found)
    calls: list[Call] = []
    content: list[str] = []
    at = 0
    while match := _CALL.search(text, at):
        content.append(text[at : match.start()])
        call, end = _read_call(text, match)
        calls.append(call)
        at = end
    content.append(text[at:])
    return Called("".join(content).strip(), tuple(calls))


def _bare_calls(text: str) -> tuple[Call, ...]:
    """Return the calls that a reply consists of, one JSON object after the other, or none."""
    rest = strip_fence(text)
    values: list[Any] = []
    while rest.startswith("{"):
        try:
            value, end = _DECODER.raw_decode(rest)
        except (ValueError, RecursionError):
            try:
                value, end = parse_relaxed(rest), len(rest)
            except ValueError:
                return ()
        values.append(value)
        rest = rest[end:].lstrip()
    are_calls = all(
        isinstance(value, dict)
        and set(value) == {"name", "arguments"}
        and isinstance(value["name"], str)
        and isinstance(value["arguments"], dict)
        for value in values
    )
    return tuple(_as_call(value, "") for value in values) if are_calls and not rest else ()


def _read_call(text: str, match: re.Match[str]) -> tuple[Call, int]:
    """Return the call and where it ends; its JSON may hold the closing tag inside a text."""
    try:
        value, end = _DECODER.raw_decode(text, match.start(1))
        closing = re.compile(rf"\s*(?:{CLOSE}|\Z)").match(text, end)
        end = closing.end() if closing else match.end()
    except (ValueError, RecursionError):
        end = match.end()
        try:
            value = parse_relaxed(match[1])
        except ValueError as error:
            return Call("", match[1], problem=f"the call is not valid JSON: {error}"), end
    return _as_call(value, match[1]), end


def _as_call(value: Any, written: str) -> Call:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not _is_sendable(name):
        problem = 'a call must be {"name": <function-name>, "arguments": <args-json-object>}'
        return Call("", written, problem=problem)
    arguments = value.get("arguments", value.get("parameters", {}))
    try:
        return Call(name, _dump(arguments))
    except RecursionError:
        return Call("", written, problem="the call's arguments are nested too deeply")


def _dump(value: Any) -> str:
    """Return JSON; a text is taken for JSON already. Half a surrogate pair stays an escape."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if _is_sendable(text) else json.dumps(value)


def _is_sendable(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which half a surrogate pair can't."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _render_calls(content: str, calls: Sequence[Mapping[str, Any]]) -> TemplateText:
    parts: list[tuple[str, bool]] = [(content, False)]
    for i, call in enumerate(calls):
        inner = call.get("function", call)
        if not isinstance(inner, Mapping) or "name" not in inner:
            raise UserError(f"a tool call needs a function with a name, got {call!r}")
        arguments = inner.get("arguments", {})
        if isinstance(arguments, str):  # what can't be read stays as written: the model sees it
            with contextlib.suppress(ValueError, RecursionError):
                arguments = json.loads(arguments)
        try:
            written = json.dumps(arguments, ensure_ascii=False)
        except RecursionError:
            raise UserError(f"arguments of {inner['name']} are nested too deeply") from None
        parts += [
            ("\n" if content or i else "", False),
            (OPEN, True),
            (f'\n{{"name": "{inner["name"]}", "arguments": {written}}}\n', False),
            (CLOSE, True),
        ]
    return TemplateText(parts)
