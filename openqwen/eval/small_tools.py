"""Questions that one of three offered tools answers, made by rules, and how a reply is judged.

question = tool_questions(1, seed=0)[0]
judge_call(question, "Thought: …\\nAction: weather\\nAction Input: {\\"city\\": \\"Lima\\"}")
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from openqwen.agent.react import parse_react, react_prompt
from openqwen.agent.tools import ArgumentError, Tool, read_arguments

CITIES = {"en": ("Lima", "Oslo", "Cairo", "Delhi"), "zh": ("北京", "上海", "广州", "成都")}
TOPICS = {"en": ("tides", "volcanoes", "bridges"), "zh": ("潮汐", "火山", "桥梁")}
QUESTIONS = {
    ("calculator", "en"): "What is {a} times {b}?",
    ("calculator", "zh"): "{a} 乘以 {b} 等于多少？",
    ("weather", "en"): "What is the weather in {city} today?",
    ("weather", "zh"): "{city}今天的天气怎么样？",
    ("search", "en"): "Find me an article about {topic}.",
    ("search", "zh"): "帮我找一篇关于{topic}的文章。",
}


class Call(Enum):
    """How a reply is judged."""

    INVALID = 0  # no call, an unknown tool, or arguments that break its schema
    VALID = 1  # a call that could be carried out, of another tool than the question needs
    RIGHT = 2


@dataclass(frozen=True)
class ToolQuestion:
    """A question, the ReAct prompt it is put in, and the tool it needs."""

    query: str
    prompt: str
    tools: tuple[Tool, ...]
    needed: str


def _tool(name: str, human: str, description: str, parameter: str, meaning: str) -> Tool:
    schema = {
        "type": "object",
        "properties": {parameter: {"description": meaning, "type": "string"}},
        "required": [parameter],
    }
    return Tool(name, human, description, schema)


TOOLS = (
    _tool("calculator", "Calculator", "Works out a sum.", "expression", "as 2 * 3"),
    _tool("weather", "Weather", "Tells a city's weather.", "city", "its name"),
    _tool("search", "Search", "Finds articles.", "query", "words to look for"),
)


def tool_questions(count: int, *, seed: int) -> list[ToolQuestion]:
    """Return questions, tools and languages in turn; the tools stand in a drawn order."""
    rng = np.random.default_rng([seed, 11])
    kinds = list(QUESTIONS)
    found = []
    for number in range(count):
        needed, language = kinds[number % len(kinds)]
        query = QUESTIONS[needed, language].format(
            a=int(rng.integers(11, 100)),
            b=int(rng.integers(11, 100)),
            city=rng.choice(CITIES[language]),
            topic=rng.choice(TOPICS[language]),
        )
        tools = tuple(TOOLS[i] for i in rng.permutation(len(TOOLS)))
        found.append(ToolQuestion(query, react_prompt(tools, query), tools, needed))
    return found


def judge_call(question: ToolQuestion, reply: str) -> Call:
    """Return whether a reply calls an offered tool validly, and the one that is needed."""
    step = parse_react(reply)
    named = {tool.name.lower(): tool for tool in question.tools}
    tool = named.get((step.action or "").strip().lower())
    if tool is None:
        return Call.INVALID
    try:
        read_arguments(tool, step.action_input or "")
    except ArgumentError:
        return Call.INVALID
    return Call.RIGHT if tool.name == question.needed else Call.VALID
