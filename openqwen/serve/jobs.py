"""What a worker works on: replies and calls, and the items that it hands over while it does.

job = Generation(request, reserve=1024, client="alice", hand_over=print)
worker.submit(job)         # Started, then Pieces, then a Result or an ApiError
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openqwen.infer.request import Request, Result
from openqwen.serve.errors import ApiError


@dataclass(frozen=True)
class Started:
    """The job has left the queue."""


@dataclass(frozen=True)
class Piece:
    """Text that became certain, and the tokens that made it.

    Attributes:
        text: may be "" at the end, where the last token is a stop.
        ids: tokens since the piece before.
        logprobs: log-probability of each id, where asked for.
        top_logprobs: beside each id the likeliest ids and theirs, where asked for.
    """

    text: str
    ids: list[int]
    logprobs: list[float] | None = None
    top_logprobs: list[tuple[tuple[int, float], ...]] | None = None


@dataclass(frozen=True)
class Value:
    """What a call returned."""

    value: Any


Item = Started | Piece | Value | Result | ApiError


class Job:
    """Work that waits for its turn and then reports to one reader.

    Attributes:
        client: whose turn it takes.
        cost: tokens, for fair turns.
        loop: the event loop that `hand_over` runs in; None for the worker's own thread.
        queued_at, started_at, first_token_at, ended_at: on `time.monotonic`'s clock.
    """

    def __init__(
        self,
        *,
        client: str,
        cost: int,
        hand_over: Callable[[Item], None],
        loop: asyncio.AbstractEventLoop | None = None,
        on_end: Callable[["Job", Item], None] | None = None,
    ) -> None:
        """Take who asks and who listens; `on_end` is called in the worker's thread."""
        self.client, self.cost = client, cost
        self.hand_over, self.loop, self.on_end = hand_over, loop, on_end
        self.queued_at = time.monotonic()
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.ended_at: float | None = None


class Generation(Job):
    """One reply.

    Attributes:
        request: its state in the engine.
        number: the engine's for it, once it runs.
    """

    def __init__(self, request: Request, *, reserve: int, **job: Any) -> None:
        """Wrap a request; `job` as in `Job`.

        Its cost is its prompt and what it asks for, at most `reserve` tokens of that: who names no
        bound asks for the whole context, and hardly ever takes it.
        """
        ahead = min(request.draw.sampling.max_new_tokens, reserve)
        super().__init__(cost=len(request.prompt_ids) + ahead, **job)
        self.request, self._reserve = request, reserve
        self.number: int | None = None
        self._num_taken = 0

    def tokens_ahead(self) -> int:
        """Return its tokens once it has grown by `reserve` more, or to its end."""
        now = len(self.request.prompt_ids) + len(self.request.ids)
        return min(most_tokens(self.request), now + self._reserve)

    def take(self, text: str) -> Piece | None:
        """Return a piece of text with the tokens that are new since the last; None for nothing."""
        request, begin = self.request, self._num_taken
        end = self._num_taken = len(request.ids)
        if not text and begin == end:
            return None
        sampling = request.draw.sampling
        return Piece(
            text,
            request.ids[begin:end],
            request.logprobs[begin:end] if sampling.logprobs else None,
            request.top_logprobs[begin:end] if sampling.top_logprobs else None,
        )


class Call(Job):
    """A function that uses the model between two steps, as embeddings do."""

    def __init__(self, function: Callable[[], Any], **job: Any) -> None:
        """Wrap a function; `job` as in `Job`."""
        super().__init__(**job)
        self.function = function


def most_tokens(request: Request) -> int:
    """Return the tokens of a request at its longest."""
    return len(request.prompt_ids) + request.draw.sampling.max_new_tokens
