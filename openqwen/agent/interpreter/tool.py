"""The code interpreter as a tool of an agent.

    with Interpreter() as python:
        trace = run_agent(model, [interpreter_tool(python)], "What is 2**100?", config)

In ReAct its input is a program in a code fence, not JSON, as in Qwen's published examples
(QwenLM/Qwen, `examples/react_demo.py`); other forms hand it over as the argument `code`.
"""

import json

from openqwen.agent.interpreter.config import InterpreterConfig
from openqwen.agent.interpreter.session import Interpreter
from openqwen.agent.react import react_prompt
from openqwen.agent.tools import Tool, ToolResult

NAME = "code_interpreter"
_DESCRIPTION = (
    "It runs Python code in a session that keeps its variables and files, and gives back what was "
    "printed, the value of the last line, errors and plots. Use it to calculate, to work with data "
    "and files, and to draw."
)
_FENCE = "\n```py\ncode\n```\n"
_PARAMETERS = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "the Python code to run"}},
    "required": ["code"],
    "additionalProperties": False,
}


def describe_interpreter(config: InterpreterConfig | None = None) -> Tool:
    """Return the tool without a session behind it: what a model is told."""
    limit_s = (config or InterpreterConfig()).call_timeout_s
    return Tool(
        NAME,
        "Code Interpreter",
        _DESCRIPTION,
        _PARAMETERS,
        None,
        "code",
        timeout_s=2 * limit_s + 60,
    )


def interpreter_prompt(query: str) -> str:
    """Return ReAct's prompt with the interpreter as its only tool.

    As in Qwen's published interpreter benchmark (QwenLM/Qwen-Agent, `benchmark/prompt/react.py`)
    the parameters are shown as a code fence: small models copy a JSON schema that stands there.
    """
    tool = describe_interpreter()
    schema = json.dumps(tool.plugin_parameters(), ensure_ascii=False)
    return react_prompt([tool], "\0").replace(schema, _FENCE).replace("\0", query)


def interpreter_tool(interpreter: Interpreter, *, limit: int = 4000) -> Tool:
    """Return the tool that runs code in an open session.

    Plots come back as files `figure-1.png`, counted through the session.

    Args:
        interpreter: an open session.
        limit: characters of a result that the model reads.
    """
    shown = 0

    def code_interpreter(code: str) -> ToolResult:
        nonlocal shown
        result = interpreter.run(code)
        files = {}
        for image in result.images:
            shown += 1
            files[f"figure-{shown}.png"] = image
        return ToolResult(result.text(limit), files)

    described = describe_interpreter(interpreter.config)
    return Tool(
        described.name,
        described.name_for_human,
        described.description,
        described.parameters,
        code_interpreter,
        described.args_format,
        described.timeout_s,
    )
