"""Two ways to tell a model of tools and to read its first call: ReAct and Qwen2.5's `<tool_call>`.

    form = FORMS["react"]
    form.prompt(tools, question, is_chat=True)
    form.read(reply)                 # FirstCall("calculator", '{"expression": "17*23"}')

ReAct's replies are read as the published scorer does (`openqwen/eval/tool_use/published.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from openqwen.agent.models import Prompt
from openqwen.agent.react import STOPS, react_prompt
from openqwen.agent.relaxed_json import canonical_json, parse_relaxed
from openqwen.agent.tool_call import parse_tool_calls, render_tool_messages
from openqwen.agent.tools import Tool
from openqwen.eval.tool_use.published import action_input_of, action_of, is_false_positive


@dataclass(frozen=True)
class FirstCall:
    """What a reply calls first.

    Attributes:
        tool: name as written.
        input: arguments as written.
    """

    tool: str
    input: str


@dataclass(frozen=True)
class Form:
    """One way to tell of tools.

    Attributes:
        name: in settings.
        task: name of its result.
        prompt: from tools, question and whether the model holds conversations.
        stop: texts that end a reply.
        read: a reply's first call, or None where it calls no tool.
        read_untagged: the same of a reply that is a call but for its tags; None where the form
            has none.
        is_for_chat: it exists in conversations only.
    """

    name: str
    task: str
    prompt: Callable[[Sequence[Tool], str, bool], Prompt]
    stop: tuple[str, ...]
    read: Callable[[str], FirstCall | None]
    read_untagged: Callable[[str], FirstCall | None] | None
    is_for_chat: bool


def _react_prompt(tools: Sequence[Tool], question: str, is_chat: bool) -> Prompt:
    text = react_prompt(tools, question)
    return [{"role": "user", "content": text}] if is_chat else f"{text}\n"


def _react_call(reply: str) -> FirstCall | None:
    if not is_false_positive(reply):
        return None
    return FirstCall(action_of(reply) or "", action_input_of(reply))


def _tool_call_prompt(tools: Sequence[Tool], question: str, is_chat: bool) -> Prompt:
    return render_tool_messages([{"role": "user", "content": question}], tools)


def _first_tool_call(reply: str) -> FirstCall | None:
    for call in parse_tool_calls(reply).calls:
        return FirstCall(call.name, call.arguments)
    return None


def _untagged_call(reply: str) -> FirstCall | None:
    """Return the call of a reply that is nothing but its JSON, in a code fence or bare."""
    try:
        value = parse_relaxed(reply)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    return FirstCall(value["name"], canonical_json(value.get("arguments", {})))


FORMS: Mapping[str, Form] = {
    "react": Form("ReAct", "tools", _react_prompt, STOPS, _react_call, None, False),
    "tool_call": Form(
        "<tool_call>",
        "tools_tool_call",
        _tool_call_prompt,
        (),
        _first_tool_call,
        _untagged_call,
        True,
    ),
}
