"""A conversation as gradio's chatbot shows it.

show(talk)                       # a list of the chatbot's messages
place_in(talk, index)            # the message of the conversation behind a shown one
"""

import re
from html import escape
from typing import Any

from openqwen.serve.chat.labels import TEXTS, both
from openqwen.serve.chat.markdown import fenced, harmless
from openqwen.serve.chat.talk import Message, Step, Talk

INTERPRETER = "code_interpreter"
_NOT_NAME = re.compile(r"[^\w .?-]")  # a title is drawn as HTML


def show(talk: Talk) -> list[dict[str, Any]]:
    """Return the messages that the page shows."""
    return [shown for message in talk.messages for shown in show_message(message)]


def place_in(talk: Talk, index: int) -> int:
    """Return which message of the conversation is shown at `index`; the last one if none is."""
    end = 0
    for place, message in enumerate(talk.messages):
        end += len(show_message(message))
        if index < end:
            return place
    return len(talk.messages) - 1


def show_message(message: Message) -> list[dict[str, Any]]:
    """Return one message as what stands below one another on the page."""
    if message.role == "user":
        return [_shown("user", harmless(message.content))]
    shown = [part for step in message.steps for part in _show_step(step)]
    if message.content:
        shown.append(_shown("assistant", harmless(message.content)))
    foot = _foot(message)
    if foot:
        shown.append(_shown("assistant", _html(foot)))
    return shown


def _shown(role: str, content: Any, **metadata: Any) -> dict[str, Any]:
    content = {"type": "text", "text": content} if isinstance(content, str) else content
    return {"role": role, "content": [content], "metadata": metadata or None}


def _show_step(step: Step) -> list[dict[str, Any]]:
    parts = [harmless(step.thought.strip())] if step.thought.strip() else []
    if step.arguments.strip():
        is_code = step.name == INTERPRETER
        parts.append(_as_code(step.arguments, "python" if is_code else "json"))
    is_done = step.output is not None
    if step.output:
        is_markdown = step.name == INTERPRETER  # its result has fences of its own
        parts.append(harmless(step.output) if is_markdown else fenced(step.output, "text"))
    metadata: dict[str, Any] = {
        "title": f"⚙ {_NOT_NAME.sub('', step.name)}"
        if step.name
        else " / ".join(TEXTS["thinking"]),
        "status": "done" if is_done else "pending",
    }
    if is_done and step.name:
        metadata["duration"] = round(step.seconds, 1)
    shown = [_shown("assistant", "\n\n".join(parts) or " ", **metadata)]
    images = "".join(
        f'<img class="oq-plot" alt="{escape(step.name)} {number}" src="{image}">'
        if image
        else f'<p class="oq-foot">{both("dropped")}</p>'
        for number, image in enumerate(step.images, 1)
    )
    return [*shown, _shown("assistant", _html(images))] if images else shown


def _as_code(arguments: str, language: str) -> str:
    """Return a call's arguments as a code block; a program that comes in a fence without it."""
    text = arguments.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text.split("\n", 1)[1].rsplit("```", 1)[0]
    return fenced(text, language)


def _foot(message: Message) -> str:
    """Return the line under an answer: what it took, and how it ended if not by itself."""
    parts = []
    if message.new_tokens:
        parts += [
            f"{message.prompt_tokens:,} {both('prompt_tokens')}",
            f"{message.new_tokens:,} {both('new_tokens')}",
        ]
        if message.seconds > 0 and message.new_tokens > 1:
            parts.append(f"{message.new_tokens / message.seconds:,.1f} {both('speed')}")
    if message.ending in ("stopped", "length"):
        parts.append(both(message.ending))
    foot = f'<p class="oq-foot">{" · ".join(parts)}</p>' if parts else ""
    return foot + (_error(message.error) if message.ending == "error" else "")


def _error(error: str) -> str:
    key, _, line = error.partition(":")
    said = both(key if key in TEXTS else "failed")
    detail = f'<br><small class="oq-detail">{escape(line.strip())}</small>' if line.strip() else ""
    return f'<p class="oq-error" role="alert">{said}{detail}</p>'


def _html(value: str) -> dict[str, Any]:
    """Return HTML of ours as a part of a message; nothing of a model's may be in it unescaped."""
    return {
        "type": "component",
        "component": "html",
        "value": value,
        "constructor_args": {},
        "props": {"html_template": "${value}", "apply_default_css": True},
    }
