"""The engine of a cluster: each task is a Ray task; Ray starts a killed one again.

Workers and the process that asks must share the output directory (a network file system, or one
machine). Without an address a cluster of this machine is started, on its loopback address.
"""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openqwen.core.errors import UserError
from openqwen.core.runtime import count_processors
from openqwen.data.engines.config import EngineConfig
from openqwen.data.engines.engine import Task, perform

LOOPBACK = "127.0.0.1"
IN_FLIGHT = (
    4  # tasks handed to Ray for each worker: enough to keep it busy, little to keep track of
)


class RayEngine:
    """Tasks on a Ray cluster."""

    def __init__(self, config: EngineConfig) -> None:
        """Take the settings; the cluster is joined or started in the `with` block."""
        self.config = config
        self.num_workers = config.num_workers
        self._ray: Any = None

    def __enter__(self) -> Self:
        """Join the cluster, or start one.

        Raises:
            UserError: if Ray isn't installed or there is no cluster at the address.
        """
        try:
            ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError:
            raise UserError(
                "--engine ray needs the package ray: pip install 'openqwen[ray]'"
            ) from None
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.config.address:
            options["address"] = self.config.address
        else:
            workers = self.num_workers or count_processors()
            options |= {"num_cpus": workers, "include_dashboard": False}
            options |= {"_node_ip_address": LOOPBACK}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = self.config.address or "this machine"
            raise UserError(f"no Ray cluster at {where}: {str(error).splitlines()[0]}") from None
        self._ray = ray
        self.num_workers = self.num_workers or int(ray.cluster_resources().get("CPU", 1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()

    def run(self, tasks: Sequence[tuple[Task, Path]]) -> Iterator[str]:
        """Run tasks; see `Engine.run`."""
        ray = self._ray
        retries = self.config.max_attempts - 1
        remote = ray.remote(num_cpus=1, max_retries=retries, retry_exceptions=False)(_perform)
        waiting = list(reversed(tasks))
        running: dict[Any, Task] = {}
        while waiting or running:
            while waiting and len(running) < IN_FLIGHT * self.num_workers:
                task, folder = waiting.pop()
                running[remote.remote(task, str(folder.resolve()))] = task
            ready, _ = ray.wait(list(running), num_returns=1)
            for reference in ready:
                task = running.pop(reference)
                self._check(reference, task)
                yield task.name

    def _check(self, reference: Any, task: Task) -> None:
        """Raise what a task raised, as far as it is the user's to know in one line."""
        errors = self._ray.exceptions
        try:
            self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, UserError | OSError):
                raise error.cause from None
            raise
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            raise UserError(
                f"Ray's worker of {task.function.partition(':')[2]} {task.name} died "
                f"{self.config.max_attempts} times; if memory is short, lower "
                "documents.partition_bytes (the same command goes on from here)"
            ) from None


def _perform(task: Task, folder: str) -> None:
    perform(task, Path(folder))
