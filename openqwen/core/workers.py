"""Independent pieces of tensor work on several processors, results in order.

    with Workers() as workers:
        for result in workers.map(function, items): ...

Each worker is a thread whose operations run on one processor. Beside letting each operation spread
over all processors this needs one meeting a piece instead of one an operation: faster on small
models, and it does not stall when another process takes a processor. And since no operation is ever
split, results do not depend on the number of processors.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from openqwen.core.runtime import count_processors, local_world_size

Result = TypeVar("Result")


class Workers:
    """A pool of single-processor threads; inside the `with` block the caller is one, too."""

    def __init__(self, count: int = 0) -> None:
        """Prepare `count` workers; 0 is one a processor that is ours."""
        self.count = count or max(1, count_processors() // local_world_size())
        self._pool: ThreadPoolExecutor | None = None
        self._threads_before = 0

    def __enter__(self) -> Self:
        """Start the threads and take the caller's operations to one processor."""
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(1)
        if self.count > 1:
            self._pool = ThreadPoolExecutor(
                self.count, "worker", initializer=torch.set_num_threads, initargs=(1,)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop work that has not begun and end the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        torch.set_num_threads(self._threads_before)

    def map(self, function: Callable[..., Result], *items: Iterable[Any]) -> Iterator[Result]:
        """Yield `function` of each item (of one item of each iterable), in the items' order.

        Gradients are recorded in the threads if they are here: torch decides that thread by thread.
        """
        if self._pool is None:
            return map(function, *items)
        records = torch.is_grad_enabled()

        def call(*item: Any) -> Result:
            with torch.set_grad_enabled(records):
                return function(*item)

        return self._pool.map(call, *items)
