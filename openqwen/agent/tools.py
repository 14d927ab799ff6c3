"""A tool: one description that serves ReAct, OpenAI's functions and Qwen2.5's `<tool_call>`.

    @tool
    def add(a: float, b: float = 0) -> float:
        \"""Add two numbers.

        Args:
            a: the first.
            b: the second.
        \"""
        return a + b

    add.definition()                      # OpenAI's form
    add.plugin_parameters()               # the list in Qwen's ReAct prompt
    add.call(read_arguments(add, "{'a': 1}"))
    read_tool({"name": "search", "description": "…", "parameters": {…}})

A tool's function returns a text, anything JSON can say, or a `ToolResult` with files.
"""

import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from openqwen.agent.relaxed_json import parse_relaxed, strip_fence
from openqwen.agent.schema import find_violation, schema_of
from openqwen.core.errors import UserError

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Example|Examples):\s*$")
_NAME = re.compile(r"[\w.:-]{1,64}")


class ToolError(ValueError):
    """What a tool raises where its arguments lead nowhere: one line for the model to read."""


class ArgumentError(ValueError):
    """Arguments that a tool can't take: one line for the model to read."""


@dataclass(frozen=True)
class ToolResult:
    """What a tool gives back.

    Attributes:
        text: what the model reads.
        files: name -> content, kept beside the run's trace (plots, tables).
    """

    text: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """A tool and how models are told of it.

    Attributes:
        name: what the model writes.
        name_for_human: what people call it; ReAct's prompt has both.
        description: what it is useful for.
        parameters: JSON schema of an object, one property a parameter.
        function: called with the arguments by name; None for a tool that is only described.
        args_format: `code` for a tool whose only parameter is a program, written in a code fence
            instead of JSON (ReAct only).
        timeout_s: seconds that a call may take, where the tool knows better than the agent.
    """

    name: str
    name_for_human: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any] | None = None
    args_format: Literal["json", "code"] = "json"
    timeout_s: float | None = None

    def definition(self) -> dict[str, Any]:
        """Return the tool as OpenAI's API and Qwen2.5's template write it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }

    def plugin_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters as Qwen's ReAct prompt lists them."""
        required = self.parameters.get("required") or ()
        listed = []
        for name, schema in self.properties().items():
            rest = {key: value for key, value in schema.items() if key != "description"}
            listed.append(
                {
                    "name": name,
                    "description": schema.get("description", ""),
                    "required": name in required,
                    "schema": rest,
                }
            )
        return listed

    def properties(self) -> Mapping[str, Any]:
        """Return parameter -> schema."""
        found: Mapping[str, Any] = self.parameters.get("properties") or {}
        return found

    def call(self, arguments: Mapping[str, Any]) -> ToolResult:
        """Call the tool with checked arguments.

        Raises:
            ArgumentError: if the arguments break the schema.
            UserError: if the tool is only described.
        """
        check_arguments(self, arguments)
        if self.function is None:
            raise UserError(f"the tool {self.name} is only described: it has no function to call")
        result = self.function(**arguments)
        if isinstance(result, ToolResult):
            return result
        if isinstance(result, str):
            return ToolResult(result)
        return ToolResult(json.dumps(result, ensure_ascii=False, default=str))


@dataclass(frozen=True)
class Call:
    """A call as a model wrote it, whatever the form.

    Attributes:
        name: of the tool, as written.
        arguments: as written: JSON, or a program where the tool takes one.
        id: OpenAI's, where there is one.
        problem: why it can't be read at all, for the model to know.
    """

    name: str
    arguments: str
    id: str = ""
    problem: str | None = None


def tool(function: Callable[..., Any], *, name_for_human: str | None = None) -> Tool:
    """Return a tool from a function's name, type hints and docstring (Google style).

    Raises:
        TypeError: if a parameter has no type hint, or one without a JSON schema.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    description, described = _read_docstring(inspect.getdoc(function) or "")
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{function.__name__}: *{name} can't be described to a model")
        if name not in hints:
            raise TypeError(f"{function.__name__}: the parameter {name} needs a type hint")
        properties[name] = schema_of(hints[name])
        if name in described:
            properties[name] = {"description": described[name]} | properties[name]
        if parameter.default is parameter.empty:
            required.append(name)
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    human = name_for_human or function.__name__.replace("_", " ")
    return Tool(function.__name__, human, description, schema, function)


def read_tool(written: Mapping[str, Any], function: Callable[..., Any] | None = None) -> Tool:
    """Return a tool from a description in any of the published forms.

    OpenAI's (`{"type": "function", "function": {…}}` or the inner part), or Qwen's plugins
    (`name_for_model`, `name_for_human`, `description_for_model`, a list of parameters).

    Raises:
        UserError: one line naming what is missing or wrong.
    """
    inner = written.get("function", written)
    if not isinstance(inner, Mapping):
        raise UserError(f"a tool's function must be an object, got {type(inner).__name__}")
    name = inner.get("name_for_model", inner.get("name"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"a tool's name must be 1 to 64 letters, digits or _.:-, got {name!r}")
    parameters = inner.get("parameters") or {}
    if isinstance(parameters, Sequence) and not isinstance(parameters, str):
        parameters = _schema_of_plugin(parameters, name)
    if not isinstance(parameters, Mapping) or not isinstance(
        parameters.get("properties", {}), Mapping
    ):
        raise UserError(f"the tool {name}: parameters must be a JSON schema of an object")
    schema = {"type": "object", "properties": {}} | dict(parameters)
    description = inner.get("description_for_model", inner.get("description", ""))
    human = inner.get("name_for_human", name)
    form: Literal["json", "code"] = "code" if inner.get("args_format") == "code" else "json"
    return Tool(name, str(human), str(description), schema, function, form)


def read_arguments(tool: Tool, text: str) -> dict[str, Any]:
    """Return the arguments that a model wrote for a tool, checked.

    Raises:
        ArgumentError: one line for the model: not JSON, no object, or against the schema.
    """
    if tool.args_format == "code":
        return _code_argument(tool, text)
    if not text.strip() and not tool.parameters.get("required"):
        return {}
    try:
        value = parse_relaxed(text)
    except ValueError as error:
        raise ArgumentError(f"the arguments are not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ArgumentError(f"the arguments must be a JSON object, got {type(value).__name__}")
    check_arguments(tool, value)
    return value


def check_arguments(tool: Tool, arguments: Mapping[str, Any]) -> None:
    """Raise ArgumentError with the first way in which arguments break the tool's schema."""
    problem = find_violation(dict(arguments), tool.parameters)
    if problem is not None:
        raise ArgumentError(problem)


def check_tools(tools: Sequence[Tool]) -> None:
    """Raise UserError if two tools have one name."""
    names = [each.name for each in tools]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two tools are called {twice[0]}; a model tells them by name")


def _code_argument(tool: Tool, text: str) -> dict[str, Any]:
    """Return a program as the tool's only argument: fenced, bare, or in a JSON object after all."""
    name = next(iter(tool.properties()), "code")
    if not text.strip():
        raise ArgumentError("the program is empty")
    if text.lstrip().startswith("{"):
        try:
            value = parse_relaxed(text)
        except ValueError:
            value = None
        if isinstance(value, dict) and set(value) == {name} and isinstance(value[name], str):
            return value
    match = re.search(r"```[\w+-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", text, re.DOTALL)
    return {name: match[1] if match else strip_fence(text)}


def _schema_of_plugin(listed: Sequence[Any], tool_name: str) -> dict[str, Any]:
    """Return the JSON schema of Qwen's list of parameters."""
    properties: dict[str, Any] = {}
    required = []
    for entry in listed:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise UserError(f"the tool {tool_name}: every parameter needs a name, got {entry!r}")
        kind = entry.get("type")  # an older form without "schema"
        schema = dict(entry.get("schema") or ({"type": kind} if kind else {}))
        properties[entry["name"]] = {"description": entry.get("description", "")} | schema
        if entry.get("required"):
            required.append(entry["name"])
    return {"type": "object", "properties": properties, "required": required}


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the text before the first section, on one line, and what is said of each argument."""
    described: dict[str, str] = {}
    opening: list[str] = []
    section, name = "", ""
    for line in text.splitlines():
        head = _SECTION.match(line)
        if head:
            section = head[1]
        elif not section:
            opening.append(line.strip())
        elif section in ("Args", "Arguments", "Parameters") and line.strip():
            entry = re.match(r"^ {1,4}(\w+)(?: *\([^)]*\))?: *(.*)$", line)
            if entry:
                name = entry[1]
                described[name] = entry[2].strip()
            elif name:
                described[name] += f" {line.strip()}"
    return " ".join(part for part in opening if part), described
