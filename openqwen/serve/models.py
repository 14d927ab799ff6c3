"""The models that a server has, and the adapters on them, by the names that clients use.

    models = open_models([ModelConfig(path="runs/tiny/chat")], ServeConfig())
    models.get("chat").lm

An adapter is a model of its own to clients; it shares its base's weights, engine and batch.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.core.runtime import memory_bytes
from openqwen.infer.engine import MEMORY_SHARE
from openqwen.infer.hub import find_model
from openqwen.infer.load import LanguageModel, load
from openqwen.infer.request import Request
from openqwen.serve.config import ModelConfig, ServeConfig, check_models
from openqwen.serve.default_system import read_default_system
from openqwen.serve.errors import ApiError
from openqwen.serve.worker import EngineWorker, Turns
from openqwen.tokenizer.template import DEFAULT_SYSTEM


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One name that clients can ask for.

    Attributes:
        name: as clients write it.
        lm: the loaded model.
        worker: the thread that steps its engine; None in tests without one.
        adapter: the adapter's name, or None for the base.
        created: seconds since 1970 at which it was loaded.
        default_system: opens conversations without a system message; None for none.
        root: what it was loaded from, as the user wrote it.
        parent: the base's name of an adapter, or None.
    """

    name: str
    lm: LanguageModel
    worker: EngineWorker
    adapter: str | None = None
    created: int = 0
    default_system: str | None = DEFAULT_SYSTEM
    root: str = ""
    parent: str | None = None

    def request(self, prompt: Any, **settings: Any) -> Request:
        """Return a request for `Service.submit`, of this adapter; settings as in `lm.request`."""
        if self.adapter is not None:
            settings["adapter"] = self.adapter
        return self.lm.request(prompt, **settings)


class Models:
    """All that is served, in the order of the configuration; the first one is the default."""

    def __init__(self, served: Sequence[ServedModel] = ()) -> None:
        """Take what is served."""
        self._served = {model.name: model for model in served}

    def get(self, name: str) -> ServedModel:
        """Return a model by its name.

        Raises:
            ApiError: 404 if there is none of that name.
        """
        if name not in self._served:
            known = ", ".join(self._served) or "none: this server has no model"
            raise ApiError(
                404,
                f"the model {name!r} does not exist; there are: {known}",
                param="model",
                code="model_not_found",
            )
        return self._served[name]

    def list(self) -> "list[ServedModel]":
        """Return all models."""
        return [*self._served.values()]

    def workers(self) -> Iterator[EngineWorker]:
        """Yield each worker once."""
        yield from dict.fromkeys(model.worker for model in self._served.values())

    def close(self) -> None:
        """End the workers and what they work on."""
        for worker in self.workers():
            worker.close()


def open_models(
    configs: Sequence[ModelConfig],
    config: ServeConfig,
    *,
    tell: Callable[[str], None] = lambda _: None,
    report: Callable[[str, BaseException], None] | None = None,
) -> Models:
    """Load models and their adapters, and start a worker for each.

    Args:
        configs: what to load.
        config: the server's settings.
        tell: told one line for each model that is ready.
        report: told of failures in a worker.

    Raises:
        UserError: as `load` does, or if two have one name.
    """
    check_models(tuple(configs), where="models")
    turns = Turns()
    served: list[ServedModel] = []
    for entry in configs:
        path = find_model(entry.path)
        options: dict[str, Any] = {"adapters": entry.adapters} if entry.adapters else {}
        lm = load(
            path, context=entry.context, quantize=entry.quantize, dtype=entry.dtype,
            device=entry.device, **options,
        )  # fmt: skip
        engine = lm.engine(
            kv_bytes=entry.kv_bytes or kv_share(len(configs)),
            kv_dtype=entry.kv_dtype,
            max_num_seqs=entry.max_num_seqs,
            max_tokens_per_step=entry.max_tokens_per_step,
        )
        name, created = entry.served_name, int(time.time())
        worker = EngineWorker(engine, name=name, config=config, turns=turns, report=report)
        system = choose_system(entry, path)
        served.append(ServedModel(name, lm, worker, None, created, system, entry.path))
        served += [
            ServedModel(adapter, lm, worker, adapter, created, system, root, parent=name)
            for adapter, root in entry.adapters.items()
        ]
        tell(f"{name}: {lm.describe()}; {engine.describe()}")
    return Models(served)


def kv_share(num_models: int) -> int:
    """Return the KV memory of one of several models, where none is asked for."""
    return max(1, int(memory_bytes() * MEMORY_SHARE) // max(1, num_models))


def choose_system(entry: ModelConfig, path: Any) -> str | None:
    """Return the system prompt of conversations without one: as set, else the model's own."""
    if entry.default_system is None:
        return read_default_system(path)
    return None if entry.default_system == "none" else entry.default_system
