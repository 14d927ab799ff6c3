"""The optimiser of a training run, whatever it runs on: one process here, or many under torchrun.

    optimiser = open_optimiser(model, config, compute_dtype=torch.bfloat16)
    kept = optimiser.add_gradients(loss_of, micro_batches, workers)
    norm = optimiser.step(1e-4, workers)

Trainers know this interface and nothing of ranks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.runtime import is_launched, keep_freed_memory, pick_device
from openqwen.core.workers import Workers
from openqwen.model.backbone import Backbone
from openqwen.parallel.compiling import apply_compile
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.mesh import open_mesh
from openqwen.parallel.recompute import apply_recompute
from openqwen.train.config import TrainingConfig
from openqwen.train.fused import fuse_training
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.sharded import ShardedAdamW, Weights

Item = TypeVar("Item")
Found = TypeVar("Found")


class Mapper(Protocol):
    """What works on independent pieces: `Workers`, or all ranks together."""

    def map(self, function: Callable[..., Found], *items: Iterable[Any]) -> Iterator[Found]:
        """Yield `function` of each item (of one item of each iterable), in the items' order."""
        ...


class Optimiser(Protocol):
    """What trainers use of an optimiser.

    Attributes:
        parameters: the trained parameters of the model, as this process holds them.
    """

    parameters: list[Tensor]

    def add_gradients(
        self,
        loss_of: Callable[[Item], tuple[Tensor, Found]],
        micro_batches: Iterable[Item],
        workers: Workers,
    ) -> list[Found]:
        """Sum the micro-batches' gradients; return what `loss_of` kept of each, in their order."""
        ...

    def step(
        self,
        learning_rate: float,
        workers: Workers | None = None,
        *,
        accept: Callable[[Tensor], bool] | None = None,
    ) -> Tensor:
        """Clip, update, clear the gradients; return the norm before clipping, () float32.

        Where `accept` of the norm is False, nothing but the gradients changes.
        """
        ...

    def spread(self, workers: Workers) -> Mapper:
        """Return what measures the model on many pieces: the result is the same on every rank."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return everything a resumed run needs, by name."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over such a state."""
        ...


def open_optimiser(
    model: Backbone,
    config: TrainingConfig,
    *,
    compute_dtype: torch.dtype,
    weights: Weights | None = None,
) -> Optimiser:
    """Make a float32 model on its device ready for training and return its optimiser.

    Args:
        model: its parameters are the masters from here on; it computes in `compute_dtype`.
        config: the settings.
        compute_dtype: type of weights and activations in forward and backward passes.
        weights: of a model on the meta device, which only many ranks train: see `ShardedAdamW`.

    Raises:
        UserError: if the parallel settings do not fit the number of processes.
    """
    if model.device.type == "cpu":
        keep_freed_memory()
    if is_launched():
        device = pick_device() if model.device.type == "meta" else model.device
        mesh = open_mesh(config.parallel, device)
        return ShardedAdamW(model, config, mesh, compute_dtype=compute_dtype, weights=weights)
    assert weights is None, "one process trains a model that is there"
    _refuse_ranks(config.parallel)
    optimiser = MasterAdamW(model, config, compute_dtype=compute_dtype)
    if not config.parallel.compile:
        fuse_training(model)
    apply_recompute(model, config.parallel.recompute)
    if config.parallel.compile:
        apply_compile(model)
    return optimiser


def _refuse_ranks(config: ParallelConfig) -> None:
    """Refuse settings that would be ignored without a launcher."""
    sizes = {name: getattr(config, name) for name in ("replicate", "context", "tensor")}
    sizes |= {"shard": config.shard or 1}
    for name, size in sizes.items():
        if size > 1:
            raise UserError(
                f"parallel.{name} = {size} needs {size} processes: start them with "
                "torchrun --nproc-per-node N -m openqwen …, or set it to 1"
            )
