"""What the harness hands a model, as ids: texts, pairs, and conversations inside a text.

    chats = Chats()
    text = chats.write(messages)              # all the harness sees of a conversation
    chats.read(text)                          # the messages again; None for any other text
    encode_pair(tokenizer, context, continuation)

The harness wants a conversation as one text. A rendered one would have to be read back, and any
text of a user that looks like a control token would be one. So the messages go through as JSON
behind a mark that is drawn for each run, and only the model renders them.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any

from openqwen.agent.models import LocalModel, Message
from openqwen.tokenizer.tokenizer import Tokenizer

Pair = tuple[list[int], list[int]]


class Chats:
    """Conversations as texts that nobody else can write."""

    def __init__(self) -> None:
        """Draw the mark."""
        self._mark = f"<conversation {secrets.token_hex(16)}>"

    def write(self, messages: Sequence[Message]) -> str:
        """Return a conversation as text."""
        return self._mark + json.dumps([dict(message) for message in messages])

    def read(self, text: str) -> list[dict[str, str]] | None:
        """Return the messages of a text that `write` made; None for others."""
        if not text.startswith(self._mark):
            return None
        messages: list[dict[str, str]] = json.loads(text[len(self._mark) :])
        return messages

    def plain(self, value: Any) -> Any:
        """Return a text, or whatever holds texts, with conversations as messages again."""
        if isinstance(value, str):
            messages = self.read(value)
            return value if messages is None else messages
        if isinstance(value, list | tuple):
            return [self.plain(one) for one in value]
        if isinstance(value, dict):
            return {name: self.plain(one) for name, one in value.items()}
        return value


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str) -> Pair:
    """Return the ids of a context and of what continues it, as the harness parts them.

    White space that ends the context goes to the continuation, where a token would begin with it.
    The ids of both together are cut where the context's own end. Where a merge across the join
    leaves the continuation without a token, it is encoded by itself. Without a context the document
    begins with `<|endoftext|>`.
    """
    stripped = context.rstrip()
    continuation, context = context[len(stripped) :] + continuation, stripped
    if not context:
        return [tokenizer.eos_id], tokenizer.encode(continuation)
    whole, context_ids = tokenizer.encode(context + continuation), tokenizer.encode(context)
    return context_ids, whole[len(context_ids) :] or tokenizer.encode(continuation)


def encode_chat_pair(model: LocalModel, messages: Sequence[Message], continuation: str) -> Pair:
    """Return the ids of a conversation and of what the assistant says next.

    A last message of the assistant's is continued, and parted from the continuation as texts are.
    """
    tokenizer = model.lm.tokenizer
    assert tokenizer is not None, "a model that renders conversations has a tokenizer"
    begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    if not begun.strip():
        return model.encode(messages), tokenizer.encode(continuation)
    header = model.encode([*messages[:-1], {"role": "assistant", "content": ""}])
    context_ids, continuation_ids = encode_pair(tokenizer, begun, continuation)
    return header + context_ids, continuation_ids
