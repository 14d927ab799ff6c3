"""One thread that steps one engine: jobs in fair order, pieces handed on, no wait for a reader.

    worker = EngineWorker(engine, name="qwen", config=config)
    worker.submit(job)            # from any thread
    worker.cancel(job)
    worker.close()

A reply begins once the engine's KV memory holds it and all that run, each grown by
`reserve_tokens` more or to its end. So replies are hardly ever sent back (the engine would compute
them again: right, but late). Several engines on one machine take turns by steps (`Turns`): a step
uses all processors, and two at once would each wait for the other's threads.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from openqwen.core.errors import UserError
from openqwen.infer.engine import Engine, Event
from openqwen.serve.config import ServeConfig
from openqwen.serve.errors import ApiError, internal_error
from openqwen.serve.fair import FairQueue
from openqwen.serve.jobs import Call, Generation, Item, Job, Piece, Started, Value
from openqwen.serve.throughput import Throughput

MEMORY_ERROR = "memory ran out; fewer or shorter requests at once may pass"


class Turns:
    """A lock that goes around: whoever has waited longest is next."""

    def __init__(self) -> None:
        """Begin with nobody at work."""
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # released by whoever leaves

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


class EngineWorker:
    """The only one that touches an engine while it serves."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        config: ServeConfig,
        turns: Turns | None = None,
        report: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            engine: nobody else may step it.
            name: the model's, for the thread and the log.
            config: bounds of the queue.
            turns: shared by the workers of one machine.
            report: told of failures that are no client's fault.
        """
        self.engine, self.name, self.throughput = engine, name, Throughput()
        self._config, self._turns = config, turns or Turns()
        self._report = report or (lambda _, __: None)
        self._queue: FairQueue[Job] = FairQueue()
        self._running: dict[int, Generation] = {}
        self._cancelled: list[Job] = []
        self._condition = threading.Condition()
        self._is_closed = False
        self._outbox: list[tuple[Job, Item]] = []
        self._thread = threading.Thread(target=self._work, name=f"engine {name}", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Return how many jobs wait for their turn."""
        return len(self._queue)

    @property
    def num_running(self) -> int:
        """Return how many replies are in the making."""
        return len(self._running)

    @property
    def held_bytes(self) -> int:
        """Return the KV memory that is kept for running replies."""
        return sum(self._bytes_of(job) for job in list(self._running.values()))

    def submit(self, job: Job) -> None:
        """Queue a job; its `hand_over` is called from then on.

        Raises:
            ApiError: 429 if the queue is full, 503 if the server stops.
        """
        with self._condition:
            if self._is_closed:
                raise ApiError(503, "the server stops", type="server_error", code="draining")
            self._check_room(job)
            self._queue.push(job.client, job, cost=job.cost)
            self._condition.notify()

    def cancel(self, job: Job) -> None:
        """End a job as it stands, soon; nothing happens if it has ended."""
        with self._condition:
            self._cancelled.append(job)
            self._condition.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """End all jobs and the thread."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        self._thread.join(timeout_s)

    def _check_room(self, job: Job) -> None:
        """Refuse a job that the queue has no room for; who has nothing waiting gets one place."""
        config, queue = self._config, self._queue
        alone = queue.waiting(job.client) == 0
        bound = config.max_waiting * (2 if alone else 1)
        is_long = len(queue) > 0 and queue.cost + job.cost > config.max_waiting_tokens
        if (
            len(queue) < bound
            and not (is_long and not alone)
            and (not is_long or queue.cost < 2 * config.max_waiting_tokens)
        ):
            return
        raise ApiError(
            429,
            f"{len(queue):,} requests with {queue.cost:,} tokens wait already; try again later",
            type="rate_limit_error",
            code="server_overloaded",
            retry_after_s=self.throughput.seconds_of(queue.cost),
        )

    def _work(self) -> None:
        while True:
            with self._condition:
                while not (self._running or self._cancelled or self._is_closed or self._queue):
                    self._condition.wait()
                if self._is_closed:
                    break
            try:
                self._turn()
            except Exception as error:  # one round may fail, the server goes on
                self._fail(error)
            self._send()
        self._end_all()

    def _turn(self) -> None:
        """Do one round: cancel, let jobs in, step."""
        self._drop_cancelled()
        self._drop_late()
        call = self._admit()
        if call is not None:
            self._run_call(call)
        if self._running:
            begin = time.monotonic()
            with self._turns:
                events = self.engine.step()
            self.throughput.count_seconds(time.monotonic() - begin)
            for event in events:
                self._pass_on(event)

    def _admit(self) -> Call | None:
        """Let jobs in while there is room; return a call, which has its turn at once."""
        while True:
            with self._condition:
                job = self._queue.peek()
                if job is None or not self._has_room(job):
                    return None
                self._queue.pop()
            job.started_at = time.monotonic()
            if isinstance(job, Call):
                return job
            assert isinstance(job, Generation)
            try:
                job.number = self.engine.add(job.request)
            except UserError as error:
                self._post(job, ApiError(400, str(error)))
                continue
            except Exception as error:
                self._report(f"{self.name}: a request could not begin", error)
                self._post(job, internal_error())
                continue
            self._running[job.number] = job
            self._post(job, Started())

    def _has_room(self, job: Job) -> bool:
        if isinstance(job, Call) or not self._running:
            return True
        assert isinstance(job, Generation)
        is_free = len(self._running) < self.engine.config.max_num_seqs
        return is_free and self.held_bytes + self._bytes_of(job) <= self.engine.limit_bytes

    def _bytes_of(self, job: Generation) -> int:
        """Return the KV memory to keep for a reply as it stands."""
        return self.engine.bytes_of(job.tokens_ahead())

    def _run_call(self, call: Call) -> None:
        try:
            with self._turns:
                found = call.function()
        except UserError as error:
            self._post(call, ApiError(400, str(error)))
        except Exception as error:
            self._report(f"{self.name}: a call failed", error)
            self._post(call, internal_error())
        else:
            self.throughput.count_tokens(call.cost)
            self._post(call, Value(found))

    def _pass_on(self, event: Event) -> None:
        """Give a job what a step brought it."""
        job = self._running.get(event.number)
        if job is None:
            return
        if event.text and job.first_token_at is None:
            job.first_token_at = time.monotonic()
        if event.result is None:
            if event.text and (piece := job.take(event.text)) is not None:
                self._post(job, piece)
            return
        self._leave(job)
        if event.result.finish_reason == "error" and not event.result.error:
            self._post(job, internal_error("the model's numbers were not finite"))
            return
        if (piece := job.take(event.text)) is not None:
            self._post(job, piece)
        self._post(job, event.result)

    def _drop_cancelled(self) -> None:
        with self._condition:
            jobs, self._cancelled = self._cancelled, []
        for job in jobs:
            self._end(job, None)

    def _drop_late(self) -> None:
        """End what has waited or run for too long."""
        now, config = time.monotonic(), self._config
        with self._condition:
            waiting = list(self._queue)
        for job in waiting:
            if now - job.queued_at > min(config.queue_timeout_s, config.request_timeout_s):
                wait = self.throughput.seconds_of(self._queue.cost)
                self._end(job, _late_in_queue(now - job.queued_at, wait))
        for job in list(self._running.values()):
            if now - job.queued_at > config.request_timeout_s:
                self._end(job, _too_slow(config.request_timeout_s))

    def _end(self, job: Job, error: ApiError | None) -> None:
        """End a job before its time: with an error, or cancelled."""
        with self._condition:
            was_waiting = self._queue.remove(job)
        if isinstance(job, Generation) and job.number in self._running:
            assert job.number is not None
            self.engine.cancel(job.number)
            self._leave(job)
        elif not was_waiting:
            return  # it has ended by itself
        if isinstance(job, Generation) and error is None:
            self._post(job, job.request.result())
        else:
            self._post(job, error or ApiError(499, "cancelled", code="cancelled"))

    def _leave(self, job: Generation) -> None:
        assert job.number is not None
        del self._running[job.number]
        self.throughput.count_tokens(job.cost)

    def _fail(self, error: Exception) -> None:
        """End what ran when a round failed; what waits has its turn later."""
        self._report(f"{self.name}: a step failed", error)
        for job in list(self._running.values()):
            assert job.number is not None
            self.engine.cancel(job.number)
            self._leave(job)
            is_memory = isinstance(error, MemoryError)
            self._post(job, internal_error(MEMORY_ERROR) if is_memory else internal_error())

    def _end_all(self) -> None:
        with self._condition:
            jobs: list[Job] = [*self._queue, *self._running.values()]
        for job in jobs:
            self._end(job, ApiError(503, "the server stops", type="server_error", code="draining"))
        self._send()

    def _post(self, job: Job, item: Item) -> None:
        self._outbox.append((job, item))
        if not isinstance(item, Started | Piece):
            job.ended_at = time.monotonic()
            if job.on_end is not None:
                job.on_end(job, item)

    def _send(self) -> None:
        """Hand everything over: one call into each event loop, whatever a step brought."""
        outbox, self._outbox = self._outbox, []
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Job, Item]]] = {}
        for job, item in outbox:
            if job.loop is None:
                job.hand_over(item)
            else:
                loops.setdefault(job.loop, []).append((job, item))
        for loop, items in loops.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:  # the loop has ended: so have its readers
                for job, _ in items:
                    self.cancel(job)


def _deliver(items: list[tuple[Job, Item]]) -> None:
    for job, item in items:
        job.hand_over(item)


def _late_in_queue(waited_s: float, retry_after_s: float) -> ApiError:
    return ApiError(
        503,
        f"the request had no turn in {waited_s:.0f} s; try again later",
        type="server_error",
        code="queue_timeout",
        retry_after_s=retry_after_s,
    )


def _too_slow(limit_s: float) -> ApiError:
    return ApiError(
        504,
        f"the reply was not done in {limit_s:.0f} s; ask for fewer tokens",
        type="server_error",
        code="request_timeout",
    )
