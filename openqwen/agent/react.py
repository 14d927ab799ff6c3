"""ReAct as published for Qwen: the prompt, the reply's parts, and how an observation is put back.

    prompt = react_prompt(tools, "What is 17 × 23?")          # the user's turn
    step = parse_react(reply.text)                            # stopped by STOPS
    begun += step.text + observation_text("391")              # the assistant's turn goes on

Source: QwenLM/Qwen, `examples/react_prompt.md`, and `examples/react_demo.py` for tools whose
argument is a program (`args_format`).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from openqwen.agent.tools import Tool

# The word alone may stand in a thought ("the Observation says …"); before a colon or at the start
# of a line the model is about to invent a result. Texts, not ids: ":\n" is one token.
STOPS = ("\nObservation", "Observation:")

_TOOL = (
    "{name}: Call this tool to interact with the {human} API. What is the {human} API useful for? "
    "{description} Parameters: {parameters} {ending}"
)
_JSON_ENDING = "Format the arguments as a JSON object."
_CODE_ENDING = "Enclose the code within triple backticks (`) at the beginning and end of the code."
_PROMPT = """\
Answer the following questions as best you can. You have access to the following tools:

{tools}

Use the following format:

Question: the input question you must answer
Thought: you should always think about what to do
Action: the action to take, should be one of [{names}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question

Begin!

Question: {query}"""

_MARK = r"(?:\A|\n)[ \t]*{}[ \t]*[:：]"
_INPUT = re.compile(_MARK.format("Action Input"))
_ACTION = re.compile(_MARK.format("Action"))
_FINAL = re.compile(_MARK.format("Final Answer"))
_AFTER_INPUT = re.compile(_MARK.format("(?:Observation|Thought|Action|Action Input|Final Answer)"))
_THOUGHT = re.compile(r"\A\s*Thought[ \t]*[:：]")
_STOPPED = re.compile(r"(?:\nObservation|Observation:).*\Z", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One reply's parts.

    Attributes:
        thought: without its heading; a reply without headings is a thought altogether.
        action: the tool's name as written, or None where none is called.
        action_input: the arguments as written; "" where they are missing.
        final: the answer, or None.
        text: the part of the reply that this step is, for a transcript.
    """

    thought: str
    action: str | None = None
    action_input: str = ""
    final: str | None = None
    text: str = field(default="", compare=False)


def react_prompt(tools: Sequence[Tool], query: str) -> str:
    """Return the user's turn that tells a model of tools and asks a question."""
    described = "\n\n".join(describe_tool(tool) for tool in tools)
    names = ",".join(tool.name for tool in tools)
    return _PROMPT.format(tools=described, names=names, query=query)


def describe_tool(tool: Tool) -> str:
    """Return a tool's paragraph in the prompt."""
    return _TOOL.format(
        name=tool.name,
        human=tool.name_for_human,
        description=tool.description,
        parameters=json.dumps(tool.plugin_parameters(), ensure_ascii=False),
        ending=_CODE_ENDING if tool.args_format == "code" else _JSON_ENDING,
    )


def parse_react(text: str) -> Step:
    """Return the parts of a reply, of its first step if it holds more.

    What follows an `Observation` that the model wrote itself is left out. Where `Action` stands
    several times before its input the last counts, as in the published parser.
    """
    text = _STOPPED.sub("", text)
    given = _INPUT.search(text)
    final = _FINAL.search(text)
    actions = list(_ACTION.finditer(text, 0, given.end() if given else len(text)))
    actions = [found for found in actions if not given or found.start() < given.start()]
    if final and (not actions or final.start() < actions[0].start()):
        answer = text[final.end() :].strip()
        return Step(_thought(text[: final.start()]), final=answer, text=text)
    if not actions:
        return Step(_thought(text), text=text)
    action = actions[-1]
    if given is None:
        name = text[action.end() :].strip().split("\n")[0].strip()
        return Step(_thought(text[: action.start()]), name, text=text)
    after = _AFTER_INPUT.search(text, given.end())
    end = after.start() if after else len(text)
    return Step(
        _thought(text[: action.start()]),
        text[action.end() : given.start()].strip(),
        text[given.end() : end].strip(),
        text=text[:end],
    )


def render_react(step: Step) -> str:
    """Return a step as a model should have written it."""
    lines = [f"Thought: {step.thought}"]
    if step.action is not None:
        lines += [f"Action: {step.action}", f"Action Input: {step.action_input}"]
    if step.final is not None:
        lines.append(f"Final Answer: {step.final}")
    return "\n".join(lines)


def observation_text(observation: str) -> str:
    """Return what follows a step in the assistant's turn; the model goes on with its thought."""
    return f"\nObservation: {observation}\nThought:"


def _thought(text: str) -> str:
    return _THOUGHT.sub("", text, count=1).strip()
