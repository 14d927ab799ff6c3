"""Many replies on one model: step = schedule, run, choose.

    engine = Engine(model, vocabulary, long_context=plan)
    number = engine.add(Request(prompt_ids, sampling, vocabulary))
    while engine.is_busy:
        for event in engine.step(): ...
    engine.cancel(number)

A server keeps one engine and steps it as long as it is busy; `run` and `stream` do so for callers
that only want replies. Safe to use from several threads: one steps at a time, for all.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.log import format_bytes, warn
from openqwen.core.runtime import memory_bytes
from openqwen.core.workers import Workers
from openqwen.infer.adapters import Adapters
from openqwen.infer.blocks import Blocks
from openqwen.infer.config import EngineConfig
from openqwen.infer.paged_cache import PagedStore
from openqwen.infer.request import Request, Result, Vocabulary
from openqwen.infer.runner import Runner, slice_rows
from openqwen.infer.sampling import NOT_FINITE, Sampler
from openqwen.infer.scheduler import Scheduler, Work
from openqwen.infer.sequence import Sequence as Reply
from openqwen.model.config import count_parameters
from openqwen.model.decoder import Decoder
from openqwen.model.long_context import NO_EXTENSION, LongContext

MEMORY_SHARE = 0.25  # of the machine's memory, where `kv_bytes` is not set
FIXED_CHUNK = 64  # tokens of a prompt that a deterministic pass computes
SMALL_PARAMETERS = 50_000_000  # below, rows are split over processors, not operations


@dataclass(frozen=True)
class Event:
    """What a step brought one request.

    Attributes:
        number: the request's.
        text: text that became certain, perhaps "".
        result: the whole reply, once it is finished.
    """

    number: int
    text: str
    result: Result | None = None


@dataclass(frozen=True)
class Stats:
    """What an engine has done and holds.

    Attributes:
        num_running: replies in the making.
        num_waiting: requests in the queue.
        blocks_used: blocks that sequences hold, over all groups of layers.
        blocks_remembered: blocks kept for prompts that begin alike.
        kv_bytes: memory of all blocks there are.
        num_prompt_tokens: tokens computed as prompts.
        num_shared_tokens: prompt tokens found computed.
        num_new_tokens: tokens chosen.
        num_preemptions: how often a sequence had to give its blocks back.
        seconds: spent in steps.
    """

    num_running: int
    num_waiting: int
    blocks_used: int
    blocks_remembered: int
    kv_bytes: int
    num_prompt_tokens: int
    num_shared_tokens: int
    num_new_tokens: int
    num_preemptions: int
    seconds: float


class Engine:
    """Requests on one model, with continuous batching and shared prefixes."""

    def __init__(
        self,
        model: Decoder,
        vocabulary: Vocabulary,
        *,
        long_context: LongContext = NO_EXTENSION,
        config: EngineConfig | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """Prepare an engine; KV memory comes as it is needed."""
        config = config or EngineConfig()
        self.config, self.long_context = config, long_context
        self._model, self._adapters = model, adapters or Adapters()
        weight = model.embed_tokens.weight
        self._store = PagedStore(
            model.config,
            windows=long_context.windows,
            block_tokens=config.block_tokens,
            dtype=weight.dtype,
            device=weight.device,
            is_int8=config.kv_dtype == "int8",
        )
        fixed = FIXED_CHUNK if config.deterministic else None
        self._blocks = Blocks(
            self._store.groups,
            block_tokens=config.block_tokens,
            limit_bytes=config.kv_bytes or int(memory_bytes(weight.device) * MEMORY_SHARE),
            share=config.share_prefixes,
            share_step=fixed or 1,
        )
        self._scheduler = Scheduler(
            self._blocks,
            max_num_seqs=config.max_num_seqs,
            max_tokens=config.max_tokens_per_step,
            fixed_chunk=fixed,
        )
        self._runner = Runner(
            model,
            self._store,
            self._blocks,
            long_context,
            adapters=self._adapters,
            fixed_rows=config.max_num_seqs if config.deterministic else None,
            fixed_chunk=fixed,
        )
        self._sampler = Sampler(vocabulary.allowed_V, weight.device)
        self._active: dict[int, tuple[Request, Reply]] = {}
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._weights = _Weights(model)
        self._num_prompt_tokens = self._num_new_tokens = 0
        self._seconds = 0.0
        if config.deterministic:
            self._tell_cost()

    @property
    def is_busy(self) -> bool:
        """Return whether any request is unfinished."""
        return bool(self._active)

    def describe(self) -> str:
        """Return in a few words how keys and values are kept, as `KV bfloat16, up to 6.3 GB`."""
        kind = str(self._model.embed_tokens.weight.dtype).removeprefix("torch.")
        if self.config.kv_dtype == "int8":
            kind = "int8 (torch's kernels)"
        line = f"KV {kind}, up to {format_bytes(self._blocks.limit_bytes)}"
        return line + (", deterministic" if self.config.deterministic else "")

    @property
    def limit_bytes(self) -> int:
        """Return the bound on KV memory."""
        return self._blocks.limit_bytes

    def bytes_of(self, num_tokens: int) -> int:
        """Return the KV bytes that one sequence of so many tokens takes at most."""
        return self._blocks.bytes_alone(num_tokens, self._scheduler.chunk)

    @property
    def most_tokens(self) -> int:
        """Return the longest sequence that KV memory holds with no other there."""
        return self._blocks.most_tokens(self._scheduler.chunk)

    def is_on(self, device: torch.device) -> bool:
        """Return whether the memory is where the model is."""
        return self._store.device == device

    def add(self, request: Request) -> int:
        """Queue a request; return its number.

        Raises:
            UserError: if its prompt is longer than the KV memory, or its adapter is not there.
        """
        with self._lock:
            self._forget_other_weights()
            length, methods = len(request.prompt_ids), self.long_context
            alpha = methods.alpha(length, self._model.config.train_length)
            number = next(self._numbers)
            adapter = self._adapters.number(request.adapter)
            reply = Reply(number, list(request.prompt_ids), length, alpha, adapter)
            try:
                self._scheduler.add(reply)
            except ValueError:
                raise UserError(
                    f"the prompt has {length:,} tokens, KV memory of {self._blocks.limit_bytes:,} "
                    f"bytes holds {self._blocks.most_tokens(self._scheduler.chunk):,}; "
                    "kv_bytes sets it"
                ) from None
            self._active[number] = (request, reply)
            return number

    def cancel(self, number: int) -> None:
        """End a request as it stands and free its blocks; nothing happens if it has finished."""
        with self._lock:
            if number in self._active:
                self._active[number][0].cancel()
                self._leave(number)

    def step(self) -> list[Event]:
        """Compute and choose the next tokens; return what came of it for every request it moved."""
        with self._lock:
            begin = time.perf_counter()
            events = []
            for number, (request, _) in list(self._active.items()):
                if request.finish_reason is not None:  # cancelled from outside
                    self._leave(number)
                    events.append(Event(number, "", request.result()))
            plan = self._scheduler.plan()
            for reply in plan.exhausted:
                request = self._active.pop(reply.number)[0]
                text = request.end("length")
                events.append(Event(reply.number, text, request.result()))
            try:
                logits_RV = self._runner.run(plan)
                works = plan.decodes + plan.chunks
                self._num_prompt_tokens += sum(work.count for work in plan.chunks)
                for work in works:
                    self._scheduler.advance(work)
                if logits_RV is not None:
                    events += self._choose([work for work in works if work.samples], logits_RV)
            except BaseException:
                self._abandon()
                raise
            self._seconds += time.perf_counter() - begin
            return events

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Carry requests to their ends; return the replies in order."""
        numbers: list[int] = []
        try:
            for request in requests:
                numbers.append(self.add(request))
            with self._at_work(len(requests)):
                while any(request.finish_reason is None for request in requests):
                    self.step()
        finally:
            for number in numbers:
                self.cancel(number)
        return [request.result() for request in requests]

    def stream(self, request: Request) -> Generator[str, None, Result]:
        """Yield a reply in pieces of text; closing the generator cancels the request."""
        number, num_given = self.add(request), 0
        try:
            while True:
                while num_given < len(request.pieces):
                    num_given += 1
                    yield request.pieces[num_given - 1]
                if request.finish_reason is not None:
                    return request.result()
                self.step()
        finally:
            self.cancel(number)

    def stats(self) -> Stats:
        """Return what the engine has done and holds."""
        pools = self._blocks.pools
        return Stats(
            num_running=len(self._scheduler.running),
            num_waiting=len(self._scheduler.waiting),
            blocks_used=sum(pool.num_held for pool in pools),
            blocks_remembered=sum(len(pool.remembered) for pool in pools),
            kv_bytes=sum(pool.num_bytes for pool in pools),
            num_prompt_tokens=self._num_prompt_tokens,
            num_shared_tokens=self._scheduler.num_shared_tokens,
            num_new_tokens=self._num_new_tokens,
            num_preemptions=self._scheduler.num_preemptions,
            seconds=self._seconds,
        )

    def _choose(self, works: Sequence[Work], logits_RV: Tensor) -> list[Event]:
        """Choose a token for each row and tell its request."""
        requests = [self._active[work.sequence.number][0] for work in works]
        choices = self._sampler.choose(logits_RV, [request.draw for request in requests])
        self._num_new_tokens += len(works)
        events = []
        for work, request, choice in zip(works, requests, choices, strict=True):
            reply = work.sequence
            if not request.ids:
                request.num_shared_tokens = reply.num_shared
            text = request.accept(choice)
            if request.finish_reason is None:
                reply.tokens.append(request.ids[-1])
                self._begin_again_at_a_step(reply)
                events.append(Event(reply.number, text))
            else:
                if choice.error == NOT_FINITE:
                    self._store.wipe(reply.tables)
                    self._blocks.forget()
                self._leave(reply.number)
                events.append(Event(reply.number, text, request.result()))
        return events

    def _begin_again_at_a_step(self, reply: Reply) -> None:
        """Where the methods ask for it, compute all tokens anew once their number changes α."""
        methods, train_length = self.long_context, self._model.config.train_length
        if not methods.recompute:
            return
        alpha = methods.alpha(len(reply.tokens), train_length)
        if alpha != reply.alpha:
            reply.alpha, reply.num_prompt = alpha, len(reply.tokens)
            self._blocks.release(reply)
            self._blocks.adopt(reply)

    def _tell_cost(self) -> None:
        """Print what fixed shapes cost on this model and machine."""
        rows = self.config.max_num_seqs
        fixed, alone = (min(self._runner.seconds_of_rows(n) for _ in range(3)) for n in (rows, 1))
        warn(
            f"deterministic: a step takes {1000 * fixed:.1f} ms at its {rows} rows, one reply "
            f"alone would take {1000 * alone:.1f} ms; prompts go {FIXED_CHUNK} tokens at a time"
        )

    def _leave(self, number: int) -> None:
        self._scheduler.remove(self._active.pop(number)[1])

    def _abandon(self) -> None:
        """End all requests after a pass that failed: nobody knows what it has written."""
        for number, (request, _) in list(self._active.items()):
            request.end("error")
            self._leave(number)
        self._blocks.forget()

    def _forget_other_weights(self) -> None:
        """Share nothing that was computed with weights that have changed since."""
        if self._weights.have_changed():
            self._blocks.forget()
            self._weights = _Weights(self._model)

    @contextlib.contextmanager
    def _at_work(self, num_requests: int) -> Generator[None, None, None]:
        """Open workers for many rows of a small model on the CPU, where they are faster."""
        small = count_parameters(self._model.config) < SMALL_PARAMETERS
        if (
            not small
            or num_requests <= slice_rows(self._model)
            or self._model.device.type != "cpu"
            or self.config.deterministic
            or self._runner.workers is not None
        ):
            yield
            return
        with Workers() as workers:
            self._runner.workers = workers
            try:
                yield
            finally:
                self._runner.workers = None


class _Weights:
    """Notices when a weight or a part of a model is replaced or written to.

    Walks the modules once: their own tables tell of anything new, in a third of a walk's time.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._modules = modules = list(model.modules())  # alive, so that no number is used again
        self._parts = [module._modules for module in modules]
        self._tensors = [table for m in modules for table in (m._parameters, m._buffers)]
        self._seen = self._look()

    def have_changed(self) -> bool:
        """Return whether anything has changed since the beginning."""
        return self._look() != self._seen

    def _look(self) -> tuple[list[int], list[tuple[int, int]]]:
        parts = [id(part) for table in self._parts for part in table.values()]
        return parts, [
            (tensor.data_ptr(), tensor._version)
            for table in self._tensors
            for tensor in table.values()
            if tensor is not None
        ]
