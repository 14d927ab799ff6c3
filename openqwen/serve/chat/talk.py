"""A conversation as the browser keeps it: read with suspicion, changed by copies.

talk = read_talk(text)                       # what a browser sent: anything may be in it
talk = talk.asked("Hi")                      # a question at its end
write_talk(talk)

The server keeps no conversations; each event brings its own and takes it home.
"""

import base64
import re
from typing import Any, Literal, Self

from pydantic import ValidationError

from openqwen.core.config import Config, setting

MAX_IMAGE_CHARS = 1_500_000  # of one conversation's images; the newest are kept
MAX_TITLE_CHARS = 60
_PNG = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")
Ending = Literal["", "stop", "stopped", "length", "error"]


class Step(Config):
    """One call of a tool."""

    name: str = setting(..., "of the tool")
    thought: str = setting("", "what the model said before it")
    arguments: str = setting("", "as the model wrote them")
    output: str | None = setting(None, "what the tool gave; None while it runs")
    images: tuple[str, ...] = setting((), "PNGs as data URLs; an empty one has been dropped")
    seconds: float = setting(0.0, "that it took", ge=0)


class Message(Config):
    """One message."""

    role: Literal["user", "assistant"] = setting(..., "whose it is")
    content: str = setting("", "Markdown")
    steps: tuple[Step, ...] = setting((), "calls of tools before the answer")
    ending: Ending = setting("", "why an answer ended; empty while it goes on")
    error: str = setting("", "a key of the page's texts, and after a colon the server's line")
    prompt_tokens: int = setting(0, "that the model read", ge=0)
    new_tokens: int = setting(0, "that it wrote", ge=0)
    seconds: float = setting(0.0, "from the first token to the last", ge=0)


class Choices(Config):
    """What the person has set."""

    model: str = setting("", "name of the model; empty for the server's first")
    tools: tuple[str, ...] = setting((), "tools that may be called")
    system: str = setting("", "system prompt; empty for the model's own")
    temperature: float = setting(0.7, "0 takes the likeliest token", ge=0, le=2)
    top_p: float = setting(0.8, "mass that is drawn from", gt=0, le=1)
    top_k: int = setting(20, "0 keeps all", ge=0)
    max_tokens: int = setting(1024, "of one answer", ge=1)
    seed: int | None = setting(None, "None for another one each time", ge=0)
    repetition_penalty: float = setting(1.05, "1 for none", ge=0.1, le=10)


class Talk(Config):
    """One conversation."""

    id: str = setting("", "the browser's name for it", max_length=64)
    title: str = setting("", "shown in the list", max_length=200)
    messages: tuple[Message, ...] = setting((), "in order")
    choices: Choices = setting(Choices(), "how it is answered")

    def asked(self, text: str, at: int | None = None) -> Self:
        """Return it with a question at its end, or in place of message `at` and what follows."""
        kept = self.messages if at is None else self.messages[:at]
        title = self.title or " ".join(text.split())[:MAX_TITLE_CHARS]
        messages = (*kept, Message(role="user", content=text))
        return self.model_copy(update={"messages": messages, "title": title})

    def before_answer(self, at: int | None = None) -> Self:
        """Return it up to the question that message `at` (the last one) answers or is."""
        end = len(self.messages) if at is None else min(at + 1, len(self.messages))
        while end and self.messages[end - 1].role != "user":
            end -= 1
        return self.model_copy(update={"messages": self.messages[:end]})

    def answered(self, answer: Message) -> Self:
        """Return it with an answer at its end; of many images the oldest are dropped."""
        return self.model_copy(update={"messages": _bounded((*self.messages, answer))})

    def history(self) -> list[dict[str, str]]:
        """Return the messages as models read them, the system prompt first."""
        said = [
            {"role": message.role, "content": message.content}
            for message in self.messages
            if message.role == "user" or message.content
        ]
        system = self.choices.system.strip()
        return [{"role": "system", "content": system}, *said] if system else said


def read_talk(text: str | None) -> Talk:
    """Return the conversation that a browser sent; an empty one if it can't be read."""
    try:
        talk = Talk.model_validate_json(text or "{}")
    except ValidationError:
        return Talk()
    steps = [step for message in talk.messages for step in message.steps]
    if any(image and not _PNG.fullmatch(image) for step in steps for image in step.images):
        return Talk()
    return talk.model_copy(update={"messages": _bounded(talk.messages)})


def write_talk(talk: Talk) -> str:
    """Return a conversation as the browser keeps it."""
    return talk.model_dump_json()


def as_data_url(png: bytes) -> str:
    """Return an image as text that stands in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _bounded(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    left = MAX_IMAGE_CHARS
    kept: list[Message] = []
    for message in reversed(messages):
        steps: list[Step] = []
        for step in reversed(message.steps):
            sizes = [len(image) for image in step.images]
            if sum(sizes) > left:
                step = step.model_copy(update={"images": ("",) * len(sizes)})
            else:
                left -= sum(sizes)
            steps.append(step)
        changes: dict[str, Any] = {"steps": tuple(reversed(steps))}
        kept.append(message.model_copy(update=changes) if steps else message)
    return tuple(reversed(kept))
