"""Tools in a conversation as plain text: descriptions, calls (the published Qwen2.5 form).

    describe_tools([{"name": "add", "parameters": {...}}])     # goes below the system prompt
    call_text("add", {"a": 1, "b": 2})                         # what the assistant says

The angle-bracketed words are ordinary text of any vocabulary, never control tokens.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def describe_tools(tools: Sequence[dict[str, Any]]) -> str:
    """Return the paragraph that offers tools: one JSON line each, then how to call one."""
    lines = [json.dumps(tool, ensure_ascii=False) for tool in tools]
    form = '{"name": <tool name>, "arguments": <JSON object>}'
    return "\n".join(["Tools you may call:", *lines, f"To call one, write {OPEN}\n{form}\n{CLOSE}"])


def call_text(name: str, arguments: Any) -> str:
    """Return one call as the assistant writes it; arguments that are JSON text are parsed first."""
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):  # not JSON: told as it stands
            arguments = json.loads(arguments)
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{OPEN}\n{body}\n{CLOSE}"
