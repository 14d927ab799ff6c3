"""The way from a handler to an engine: submit a request, read its stream, call a function.

    stream = await service.submit(model, model.request("Once", max_new_tokens=40), client="alice")
    await stream.started()               # optional: an error before the first byte keeps its status
    async for piece in stream: ...       # raises ApiError where the reply ends badly
    stream.result.finish_reason
    vectors = await service.run(model, lambda: model.lm.embed(texts), client="alice", cost=120)

A stream takes whatever the engine makes, at most `max_new_tokens` pieces, so a reader that stands
still costs its own memory only. What a HTTP request has submitted ends with that request
(`Owned`): a client that leaves frees its memory, whatever its handler does.
"""

import asyncio
import contextvars
import queue
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from openqwen.infer.request import Request, Result
from openqwen.serve.config import ServeConfig
from openqwen.serve.errors import ApiError
from openqwen.serve.jobs import Call, Generation, Item, Job, Piece, Started, Value, most_tokens
from openqwen.serve.models import Models, ServedModel

OWNER: contextvars.ContextVar["Owned | None"] = contextvars.ContextVar("owner", default=None)


class Owned:
    """What one HTTP request has submitted; `close` ends all of it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.streams: list[Stream] = []
        self._is_closed = False

    def add(self, stream: "Stream") -> None:
        """Take a stream; after `close` nothing is taken (its owner is somebody else)."""
        if not self._is_closed:
            self.streams.append(stream)

    def close(self) -> None:
        """Cancel what is unfinished."""
        self._is_closed = True
        for stream in self.streams:
            stream.cancel()


class Stream:
    """One reply as it is made; an asynchronous iterator of `Piece`.

    Attributes:
        model: what writes it.
        job: its times and its request.
        result: the whole reply, after the end.
        error: what ended it instead, after the end.
    """

    def __init__(self, model: ServedModel, request: Request, **job: Any) -> None:
        """Wrap a request for the running event loop."""
        self.model = model
        loop = asyncio.get_running_loop()
        self.job = Generation(request, hand_over=self._take, loop=loop, **job)
        self.result: Result | None = None
        self.error: ApiError | None = None
        self._pieces: deque[Piece] = deque()
        self._is_started = False
        self._news = asyncio.Event()

    @property
    def is_finished(self) -> bool:
        """Return whether nothing more comes from the engine."""
        return self.result is not None or self.error is not None

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Piece:
        while not self._pieces:
            if self.error is not None:
                raise self.error
            if self.result is not None:
                raise StopAsyncIteration
            await self._wait()
        return self._pieces.popleft()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    async def started(self) -> None:
        """Wait until the request has left the queue.

        Raises:
            ApiError: if it ends in the queue.
        """
        while not (self._is_started or self.is_finished):
            await self._wait()
        if self.error is not None and not self._pieces:
            raise self.error

    async def collect(self) -> Result:
        """Wait for the end; return the whole reply.

        Raises:
            ApiError: if it ends badly.
        """
        async for _ in self:
            pass
        assert self.result is not None
        return self.result

    def cancel(self) -> None:
        """End the reply as it stands; its result says "cancelled"."""
        if not self.is_finished:
            self.model.worker.cancel(self.job)

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _take(self, item: Item) -> None:
        if isinstance(item, Piece):
            self._pieces.append(item)
        elif isinstance(item, Started):
            self._is_started = True
        elif isinstance(item, Result):
            self.result = item
        elif isinstance(item, ApiError):
            self.error = item
        self._news.set()


class ThreadStream:
    """One reply for a reader that is a thread: iterate, then look at `result`."""

    def __init__(self, model: ServedModel, request: Request, **job: Any) -> None:
        """Wrap a request."""
        self.model = model
        self.result: Result | None = None
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.job = Generation(request, hand_over=self._items.put, **job)

    def __iter__(self) -> Iterator[Piece]:
        while self.result is None:
            item = self._items.get()
            if isinstance(item, Piece):
                yield item
            elif isinstance(item, Result):
                self.result = item
            elif isinstance(item, ApiError):
                raise item

    def cancel(self) -> None:
        """End the reply as it stands."""
        if self.result is None:
            self.model.worker.cancel(self.job)


class Service:
    """What handlers and agents ask; one for a server."""

    def __init__(
        self,
        models: Models,
        config: ServeConfig,
        *,
        on_end: Callable[[str, Job, Item], None] | None = None,
    ) -> None:
        """Serve these models; `on_end` is told of every ended job, by the model's name."""
        self.models, self.config = models, config
        self._on_end = on_end
        self.is_draining = False

    async def submit(self, model: ServedModel, request: Request, *, client: str) -> Stream:
        """Queue a request; return its stream.

        Raises:
            ApiError: 429 if the queue is full, 400 if it is longer than the context or would never
                fit into KV memory, 503 while the server stops.
        """
        self._check(model, request)
        stream = Stream(model, request, **self._job(model, client))
        model.worker.submit(stream.job)
        owner = OWNER.get()
        if owner is not None:
            owner.add(stream)
        return stream

    def submit_from_thread(
        self, model: ServedModel, request: Request, *, client: str
    ) -> ThreadStream:
        """Queue a request from any thread; the rest as `submit`."""
        self._check(model, request)
        stream = ThreadStream(model, request, **self._job(model, client))
        model.worker.submit(stream.job)
        return stream

    async def run(
        self,
        model: ServedModel,
        function: Callable[[], Any],
        *,
        client: str = "",
        cost: int = 1,
    ) -> Any:
        """Call a function that uses the model between two steps of its engine; return its value.

        Streams stand still for as long as it takes, so it should be short.

        Args:
            model: whose turn it takes.
            function: called in the worker's thread.
            client: who asks.
            cost: tokens it computes, for fair turns.

        Raises:
            ApiError: as `submit`; 400 with the message of a UserError of the function's, 500 for
                any other error.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def take(item: Item) -> None:
            if future.done() or isinstance(item, Started):
                return
            if isinstance(item, Value):
                future.set_result(item.value)
            else:
                future.set_exception(item if isinstance(item, ApiError) else RuntimeError(item))

        told = self._told(model)
        call = Call(
            function, client=client, cost=max(1, cost), hand_over=take, loop=loop, on_end=told
        )
        model.worker.submit(call)
        try:
            return await future
        except asyncio.CancelledError:
            model.worker.cancel(call)
            raise

    @property
    def num_unfinished(self) -> int:
        """Return how many requests wait or run."""
        return sum(worker.num_waiting + worker.num_running for worker in self.models.workers())

    def close(self) -> None:
        """End all work and the workers' threads."""
        self.models.close()

    def _job(self, model: ServedModel, client: str) -> dict[str, Any]:
        reserve = self.config.reserve_tokens
        return {"reserve": reserve, "client": client, "on_end": self._told(model)}

    def _told(self, model: ServedModel) -> Callable[[Job, Item], None] | None:
        on_end = self._on_end
        return None if on_end is None else lambda job, item: on_end(model.name, job, item)

    def _check(self, model: ServedModel, request: Request) -> None:
        """Refuse what can never be served."""
        longest, engine = most_tokens(request), model.worker.engine
        prompt = len(request.prompt_ids)
        if longest > model.lm.context:
            raise ApiError(
                400,
                f"the context of {model.name} is {model.lm.context:,} tokens; this request has "
                f"{prompt:,} in its prompt and asks for up to {longest - prompt:,} more",
                param="messages",
                code="context_length_exceeded",
            )
        num_bytes = engine.bytes_of(longest)
        if num_bytes > engine.limit_bytes:
            raise ApiError(
                400,
                f"{prompt:,} tokens of prompt and up to {longest - prompt:,} of reply take "
                f"{num_bytes:,} bytes of KV memory, and {model.name} has {engine.limit_bytes:,}; "
                "ask for fewer tokens",
                param="max_tokens",
                code="context_length_exceeded",
            )
