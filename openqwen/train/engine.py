"""The optimiser of a training run, whatever it runs on: one process here, or many under torchrun.

    optimiser = open_optimiser(model, config, compute_dtype=torch.bfloat16)
    kept = optimiser.add_gradients(loss_of, micro_batches, workers)
    norm = optimiser.step(1e-4, workers)

Trainers know this interface and nothing of ranks.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from openqwen.core.workers import Workers
from openqwen.train.config import TrainingConfig
from openqwen.train.optimiser import MasterAdamW

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

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over such a state."""
        ...


def open_optimiser(
    model: nn.Module, config: TrainingConfig, *, compute_dtype: torch.dtype
) -> Optimiser:
    """Make a float32 model on its device ready for training and return its optimiser.

    Args:
        model: its parameters are the masters from here on; it computes in `compute_dtype`.
        config: the settings.
        compute_dtype: type of weights and activations in forward and backward passes.
    """
    return MasterAdamW(model, config, compute_dtype=compute_dtype)
