"""The few-shot prompts, and what is read out of the model's replies to them.

    prompt = task_prompt(examples, "en", new=2)             # a text that the model continues
    tasks = parse_tasks(reply.text, "en", first=9)          # instruction and input each
    answer_prompt(task, examples, form="chat")              # a conversation, or a text

The prompts are ours; the way (numbered tasks, the model goes on) is Self-Instruct's.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.agent.instruct.seeds import Request, Task
from openqwen.agent.models import Message


@dataclass(frozen=True)
class Words:
    """The words of a prompt in one language."""

    opening: str
    task: str
    instruction: str
    input: str
    answer: str
    none: str
    answer_opening: str
    request_opening: str
    tools: str
    used: str
    request: str


WORDS = {
    "en": Words(
        "Below is a list of tasks for an assistant that can only read and write text. The tasks "
        "differ in topic, wording and kind: questions, rewriting, classification, lists, code, "
        "mathematics, letters, stories. Each has an instruction and, where it needs one, an input.",
        "Task",
        "Instruction:",
        "Input:",
        "Answer:",
        "none",
        "Tasks for an assistant, with correct and helpful answers.",
        "Below are requests of users to an assistant that has tools. Each request needs the tool "
        "named and tells, in the user's own words, all that the tool must know.",
        "Tools:",
        "Tool needed:",
        "Request:",
    ),
    "zh": Words(
        "下面是给一个只能读写文字的助手的任务列表。任务的主题、措辞和类型各不相同：问答、改写、分类、"
        "列举、代码、数学、书信、故事等。每个任务有一条指令；需要时还有输入。",
        "任务",
        "指令：",
        "输入：",
        "回答：",
        "无",
        "给助手的任务，以及正确而有帮助的回答。",
        "下面是用户对一个带有工具的助手提出的请求。每个请求都需要用到所指的工具，并用用户自己的话说出工具所需的全部信息。",
        "工具：",
        "需要的工具：",
        "请求：",
    ),
}
_OUTPUT = r"(?:Output|Answer|Expected output|输出|答案|回答)\s*[:：]"
_EMPTY_INPUT = re.compile(
    r"[<(（【]?(?:none|no input|n/a|无|没有|空)[>)）】]?[.。]?", re.IGNORECASE
)


def task_prompt(examples: Sequence[Task], language: str, *, new: int) -> tuple[str, str]:
    """Return a text that asks for new tasks, and the text at which the reply has to end.

    Args:
        examples: tasks shown, numbered from 1.
        language: en or zh.
        new: how many new tasks the reply may hold.
    """
    words = WORDS[language]
    parts = [words.opening]
    for number, task in enumerate(examples, 1):
        given = task.input or words.none
        parts.append(
            f"{words.task} {number}\n{words.instruction} {task.instruction}\n{words.input} {given}"
        )
    first = len(examples) + 1
    parts.append(f"{words.task} {first}\n{words.instruction}")
    return "\n\n".join(parts), f"\n{words.task} {first + new}"


def parse_tasks(reply: str, language: str, *, is_whole: bool) -> list[tuple[str, str]]:
    """Return instruction and input of each task in a reply to `task_prompt`.

    Args:
        reply: goes on after "Instruction:".
        language: en or zh.
        is_whole: the reply ended by itself; otherwise its last task was cut and is left out, and
            an empty pair stands in its place.
    """
    words = WORDS[language]
    blocks = re.split(rf"\n+{words.task}\s*\d+\s*[:：.]?[ \t]*\n", "\n" + reply)
    found = []
    for number, block in enumerate(blocks):
        if number + 1 == len(blocks) and not is_whole:
            found.append(("", ""))
            continue
        body = block.strip().removeprefix(words.instruction).strip()
        # the answer, where the model goes on with one, is no part of the task
        body = re.split(rf"\n(?:{words.answer}|{_OUTPUT})", body, maxsplit=1)[0]
        asked, *rest = re.split(rf"\s{words.input}", body, maxsplit=1)
        given = "".join(rest).strip()
        if _EMPTY_INPUT.fullmatch(given):
            given = ""
        found.append((asked.strip(), given))
    return found


def answer_prompt(task: Task, examples: Sequence[Task], *, form: str) -> str | list[Message]:
    """Return what makes the model answer a task.

    Args:
        task: the task.
        examples: tasks with answers, shown where the form is text.
        form: chat, the user's turn alone; text, examples and the task for a base model.
    """
    if form == "chat":
        return [{"role": "user", "content": task.question}]
    words = WORDS[task.language]
    parts = [words.answer_opening]
    for shown in (*examples, task):
        given = shown.input or words.none
        parts.append(
            f"{words.instruction} {shown.instruction}\n{words.input} {given}\n"
            f"{words.answer} {shown.output}".rstrip()
        )
    return "\n\n".join(parts)


def answer_stop(language: str, *, form: str) -> tuple[str, ...]:
    """Return where an answer has to end, beside the end token."""
    return () if form == "chat" else (f"\n{WORDS[language].instruction}",)


def request_prompt(
    examples: Sequence[Request], tools: Sequence[Mapping[str, Any]], used: str, language: str
) -> str:
    """Return a text that asks for a user's request to tools, one line long.

    Args:
        examples: requests shown.
        tools: names, descriptions and parameters of those on offer.
        used: the one that the request has to need.
        language: en or zh.
    """
    words = WORDS[language]
    parts = [words.request_opening]
    parts += [
        f"{_offer(shown.tools, shown.used, words)} {' '.join(shown.query.split())}"
        for shown in examples
    ]
    return "\n\n".join([*parts, _offer(tools, used, words)])


def _offer(tools: Sequence[Mapping[str, Any]], used: str, words: Words) -> str:
    lines = [words.tools]
    for tool in tools:
        names = ", ".join((tool.get("parameters") or {}).get("properties") or {})
        lines.append(f"- {tool['name']}({names}): {tool.get('description', '')}")
    return "\n".join([*lines, f"{words.used} {used}", words.request])


def observation_prompt(tool: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return a text whose continuation stands for what a tool without a function gives back."""
    described = json.dumps(tool, ensure_ascii=False)
    given = json.dumps(arguments, ensure_ascii=False)
    return (
        "An API is described, called, and returns one line of JSON with plausible data.\n\n"
        'API: {"name": "get_weather", "description": "Weather of a city", "parameters": '
        '{"type": "object", "properties": {"city": {"type": "string"}}}}\n'
        'Call: {"city": "Oslo"}\nReturns: {"city": "Oslo", "sky": "cloudy", "celsius": 7}\n\n'
        f"API: {described}\nCall: {given}\nReturns:"
    )
