"""ChatML: the only place that renders conversations, as ids and as a loss mask (A.1.1, §3.1).

    <|im_start|>role\\ncontent<|im_end|>\\n

Role and content are encoded with no control token allowed, so a user can't write one.

    rendered = render([{"role": "user", "content": "Hi"}], tokenizer, add_generation_prompt=True)
    context = build_context(tokenizer, "And now?", [("Hi", "Hello!")], DEFAULT_SYSTEM, 2048)
    reply = decode_reply(tokenizer, context.ids + generated, len(context.ids))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openqwen.core.errors import UserError
from openqwen.tokenizer.control import IM_END, IM_START
from openqwen.tokenizer.template import DEFAULT_SYSTEM, ROLES, TemplateText
from openqwen.tokenizer.tokenizer import Tokenizer


class ConversationError(UserError, ValueError):
    """A conversation that can't be rendered: which message, what is wrong, what would be right."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as tokens; `learnt[i]` says whether token i counts in the SFT loss."""

    ids: list[int]
    learnt: list[bool]


@dataclass(frozen=True)
class Context:
    """A prompt for the next reply: its tokens, its text and how many earlier turns it holds."""

    ids: list[int]
    text: str
    num_turns: int


@dataclass(frozen=True)
class Reply:
    """A generated reply as text, and what ended it: a control token's name or None (the length)."""

    text: str
    stop: str | None
    num_tokens: int  # of the reply itself, the stop not counted


def render(
    messages: Sequence[Mapping[str, str]],
    tokenizer: Tokenizer,
    *,
    add_generation_prompt: bool = False,
    default_system: str | None = DEFAULT_SYSTEM,
) -> Rendered:
    """Render a conversation and mark what SFT learns.

    Learnt are the assistant's content and its `<|im_end|>`; headers, the newline after `<|im_end|>`
    and everything of the other roles are not (contracts.md, SFT mask).

    Args:
        messages: role and content each, in order; roles: system, user, assistant, tool.
        tokenizer: gives the ids.
        add_generation_prompt: end with the assistant's header, for a model to continue.
        default_system: put first where no message has the role system; None for never.

    Raises:
        ConversationError: (a ValueError) if there is no message, or one lacks a known role or text.
    """
    check_messages(messages)
    if default_system is not None and all(m["role"] != "system" for m in messages):
        messages = [{"role": "system", "content": default_system}, *messages]
    newline = tokenizer.encode("\n")
    ids: list[int] = []
    learnt: list[bool] = []
    for message in messages:
        header = _header(message["role"], tokenizer)
        body = [*encode_content(message["content"], tokenizer), tokenizer.im_end_id]
        ids += header + body + newline
        learnt += [False] * len(header)
        learnt += [message["role"] == "assistant"] * len(body)
        learnt += [False] * len(newline)
    if add_generation_prompt:
        header = _header("assistant", tokenizer)
        ids += header
        learnt += [False] * len(header)
    return Rendered(ids, learnt)


def encode_content(content: str, tokenizer: Tokenizer) -> list[int]:
    """Return a content's ids; control tokens only where a `TemplateText` has them."""
    if isinstance(content, TemplateText):
        return tokenizer.encode_segments(content.segments(tokenizer.control_tokens))
    return tokenizer.encode(content)


def check_messages(messages: Sequence[Mapping[str, str]]) -> None:
    """Raise ConversationError unless every message has a known role and a text as content."""
    if not messages:
        raise ConversationError("a conversation needs at least one message, got none")
    for i, message in enumerate(messages):
        missing = [key for key in ("role", "content") if key not in message]
        if missing:
            raise ConversationError(f"message {i} has no {missing[0]}")
        if message["role"] not in ROLES:
            known = ", ".join(ROLES)
            raise ConversationError(f"message {i} has role {message['role']!r}; use one of {known}")
        if not isinstance(message["content"], str):
            kind = type(message["content"]).__name__
            raise ConversationError(f"message {i} ({message['role']}) has a {kind}, not a text")


def build_context(
    tokenizer: Tokenizer,
    query: str,
    history: Sequence[tuple[str, str]],
    system: str,
    max_window_size: int,
) -> Context:
    """Build the prompt for `query` from as many of the newest turns as the window holds.

    Going back from the newest, a turn is kept while system, kept turns and it are together under
    `max_window_size` tokens; the first that is not ends the walk. The query and the assistant's
    header are not counted, so leave room for them.

    Matches the published Qwen-7B chat code on all recorded cases.

    Args:
        tokenizer: gives the ids.
        query: what the user says now.
        history: (user, assistant) of each earlier turn, oldest first.
        system: the system prompt; always sent, even when empty.
        max_window_size: tokens.
    """
    newline = tokenizer.encode("\n")
    system_ids = _message("system", system, tokenizer)
    kept_ids: list[int] = []
    num_turns = 0
    for asked, answered in reversed(history):
        turn = newline + _message("user", asked, tokenizer)
        turn += newline + _message("assistant", answered, tokenizer)
        if len(system_ids) + len(turn) + len(kept_ids) >= max_window_size:
            break
        kept_ids = turn + kept_ids
        num_turns += 1
    kept = history[len(history) - num_turns :]
    said = [("system", system)]
    said += [part for q, a in kept for part in (("user", q), ("assistant", a))]
    said.append(("user", query))
    text = "".join(f"{IM_START}{role}\n{content}{IM_END}\n" for role, content in said)
    last = newline + _message("user", query, tokenizer) + newline
    ids = system_ids + kept_ids + last + _header("assistant", tokenizer)
    return Context(ids, f"{text}{IM_START}assistant\n", num_turns)


def decode_reply(tokenizer: Tokenizer, ids: Sequence[int], num_context_tokens: int) -> Reply:
    """Return a generated reply as text, stripped, up to its first `<|im_end|>` or `<|im_start|>`.

    Where neither came (the length ended it) all tokens count; the published code drops the last.

    Args:
        tokenizer: the vocabulary.
        ids: context and reply together, as `generate` returns them.
        num_context_tokens: how many of them are context.
    """
    reply = list(ids[num_context_tokens:])
    ends = {tokenizer.im_end_id: IM_END, tokenizer.im_start_id: IM_START}
    end = next((i for i, token_id in enumerate(reply) if token_id in ends), None)
    stop = None if end is None else ends[reply[end]]
    spoken = reply[:end]
    return Reply(tokenizer.decode(spoken).strip(), stop, len(spoken))


def _header(role: str, tokenizer: Tokenizer) -> list[int]:
    return [tokenizer.im_start_id, *tokenizer.encode(role), *tokenizer.encode("\n")]


def _message(role: str, content: str, tokenizer: Tokenizer) -> list[int]:
    return [*_header(role, tokenizer), *tokenizer.encode(content), tokenizer.im_end_id]
