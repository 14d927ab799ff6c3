"""An answer without tools, from the engine, as it grows.

async for answer in reply(service, served, talk, session, client="alice"):
    answer.content, answer.ending
"""

import random
import time
from collections.abc import AsyncIterator
from typing import Any

from openqwen.serve.chat.sessions import Session
from openqwen.serve.chat.talk import Choices, Message, Talk
from openqwen.serve.errors import ApiError
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Service
from openqwen.tokenizer.chatml import render


async def reply(
    service: Service, served: ServedModel, talk: Talk, session: Session, *, client: str
) -> AsyncIterator[Message]:
    """Yield the answer to a conversation, again and again until it has ended.

    Raises:
        ApiError: if the server refuses it, or it ends badly.
    """
    tokenizer = served.lm.tokenizer
    if tokenizer is None:
        raise ApiError(400, f"{served.name} has no tokenizer: it can't read a conversation")
    prompt = render(
        talk.history(), tokenizer, add_generation_prompt=True, default_system=served.default_system
    ).ids
    room = served.lm.context - len(prompt)
    if room < 1:
        raise ApiError(
            400,
            f"the conversation has {len(prompt):,} tokens, the context of {served.name} is "
            f"{served.lm.context:,}",
            code="context_length_exceeded",
        )
    request = served.request(
        prompt,
        max_new_tokens=min(talk.choices.max_tokens, room),
        seed=pick_seed(talk.choices),
        **sampling(talk.choices),
        temperature=talk.choices.temperature,
        top_p=talk.choices.top_p,
    )
    stream = await service.submit(served, request, client=client)
    async with stream:
        session.on_stop(stream.cancel)
        text, began, num_new = "", 0.0, 0
        async for piece in stream:
            began = began or time.monotonic()
            text += piece.text
            num_new += len(piece.ids)
            yield Message(
                role="assistant",
                content=text,
                prompt_tokens=len(prompt),
                new_tokens=num_new,
                seconds=time.monotonic() - began,
            )
        result = stream.result
        assert result is not None
        reason = result.finish_reason
        yield Message(
            role="assistant",
            content=text,
            ending="stopped" if reason == "cancelled" else reason,
            error=f"failed:{result.error or ''}" if reason == "error" else "",
            prompt_tokens=result.num_prompt_tokens,
            new_tokens=result.num_new_tokens,
            seconds=time.monotonic() - began if began else 0.0,
        )


def sampling(choices: Choices) -> dict[str, Any]:
    """Return the settings that agents' options don't have."""
    return {"top_k": choices.top_k, "repetition_penalty": choices.repetition_penalty}


def pick_seed(choices: Choices) -> int:
    """Return the seed that is set, or any."""
    return random.SystemRandom().randrange(2**31) if choices.seed is None else choices.seed
