"""Conversations to learn from: one's own files in any common form, or the documents stage's.

    set_aside = SetAside()
    for conversation in read_conversations([Path("mine.jsonl")], set_aside=set_aside): ...
    for conversation in conversations_of(Path("runs/tiny/documents")): ...

Rows that can't be used are set aside with a reason; the rest goes on.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openqwen.core.documents import Message, read_documents
from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.data.draw import draw
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.readers import read_files
from openqwen.data.inputs.rows import MESSAGES
from openqwen.data.training.conversation_rows import BadRowError, check_dialogue
from openqwen.tokenizer.chatml import ConversationError, check_messages, render
from openqwen.tokenizer.tokenizer import Tokenizer

MAX_ROW_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages with where they came from; `split` is train or validation."""

    id: str
    source: str
    licence: str
    messages: list[Message]
    split: str = "train"


def read_conversations(
    paths: Sequence[Path],
    *,
    set_aside: SetAside,
    licence: str = "unknown",
    seed: int = 0,
    validation_share: float = 0.0,
) -> Iterator[Conversation]:
    """Yield the conversations of files or folders, in the order given.

    Args:
        paths: JSON, JSON Lines or Parquet, also gzipped; each names its source.
        set_aside: gets the rows that can't be used.
        licence: of rows that name none.
        seed: decides, with its content, which split a conversation falls into.
        validation_share: share held out; equal conversations fall on one side.

    Raises:
        UserError: if a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist; give a file of conversations or a folder")
        files, base = (list_files(path), path) if path.is_dir() else ([path], path.parent)
        source = path.name.split(".")[0] or "own"
        origin = Origin(source, licence, MAX_ROW_BYTES, set_aside)
        for page in read_files(files, base, origin):
            if page.media != MESSAGES:
                set_aside.add("no conversation", page.id)
                continue
            messages = json.loads(page.content)
            try:
                check_messages(messages)
                check_dialogue(messages)
            except (BadRowError, ConversationError) as error:
                set_aside.add(str(error), page.id)
                continue
            held = draw(seed, "validation", page.content.decode()) < validation_share
            split = "validation" if held else "train"
            yield Conversation(page.id, page.source, page.licence, messages, split)


def conversations_of(documents: Path) -> Iterator[Conversation]:
    """Yield the conversations of a finished documents stage: clean, decontaminated, split."""
    for document in read_documents(documents / "documents"):
        if document.messages:
            yield Conversation(
                document.id,
                document.source,
                document.licence,
                list(document.messages),
                document.split,
            )


def marked(
    messages: Sequence[Message], tokenizer: Tokenizer, *, default_system: str | None
) -> list[tuple[str, bool]]:
    """Return a rendered conversation in pieces of text, each with whether SFT learns it.

    The pieces joined are the whole rendered text; half characters stay with the piece they end in.
    """
    rendered = render(messages, tokenizer, default_system=default_system)
    pieces: list[tuple[str, bool]] = []
    start = 0
    for end in range(1, len(rendered.ids) + 1):
        if end == len(rendered.ids) or rendered.learnt[end] != rendered.learnt[start]:
            pieces.append((tokenizer.decode(rendered.ids[start:end]), rendered.learnt[start]))
            start = end
    return pieces


def first_question(conversation: Conversation) -> list[Message]:
    """Return the messages up to the first answer."""
    roles = [message["role"] for message in conversation.messages]
    return list(conversation.messages[: roles.index("assistant")])


def count_by_source(conversations: Iterable[Conversation]) -> dict[str, dict[str, int]]:
    """Return split -> source -> how many."""
    counts: dict[str, dict[str, int]] = {"train": {}, "validation": {}}
    for conversation in conversations:
        of_split = counts[conversation.split]
        of_split[conversation.source] = of_split.get(conversation.source, 0) + 1
    return counts
