"""The parts of the chat page that its events read and change."""

from dataclasses import dataclass
from typing import Any

CHOICES = (
    "model", "tools", "system", "temperature", "top_p", "top_k", "max_tokens", "seed",
    "repetition_penalty",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Parts:
    """gradio's components.

    Attributes:
        chatbot: shows the conversation.
        talk: holds it as text; hidden.
        box: what is typed.
        send: the button that sends it.
        stop: the button in its place while an answer grows.
        choices: by the names of `Choices`.
    """

    chatbot: Any
    talk: Any
    box: Any
    send: Any
    stop: Any
    choices: dict[str, Any]
