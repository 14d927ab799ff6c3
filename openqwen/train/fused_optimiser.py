"""The optimiser's arithmetic on the CPU, one pass of C++ over each parameter.

    sums = GradientSums(masters, parts)
    sums.add(gradients)                                    # of each micro-batch
    norm = sums.norm(workers.map)
    update_master(master, state, sums.of(i), copy, rates)
    sums.clear()

The same formulas as torch's AdamW; sums, moments and masters are float32.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.train.kernels import ops

CLIP_EPSILON = 1e-6  # beside the norm, as in torch.nn.utils.clip_grads_with_norm_


MOST_WAITING = 2  # micro-batches whose gradients are added in one pass

Run = Callable[[Callable[[int], list[float]], Iterable[int]], Iterable[list[float]]]
Summands = tuple[list[Tensor], Tensor | None]


class GradientSums:
    """Gradients of a step's micro-batches, added in float32 in their order, and their norm.

    The last few are added where the sum is read, so that a step of few needs no memory for sums.
    """

    def __init__(self, masters: Sequence[Tensor], parts: Sequence[Sequence[int]]) -> None:
        """Take the parameters' shapes, and which of them are worked on together."""
        self.masters, self.parts = masters, parts
        self._totals: list[Tensor] = []  # kept from step to step: fresh memory costs a pass
        self._waiting: list[list[Tensor]] = []
        self._has_sum = False

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Take one micro-batch's gradients, in the masters' order."""
        if len(self._waiting) == MOST_WAITING:
            if not self._totals:
                self._totals = [torch.empty_like(master) for master in self.masters]
            for i, total in enumerate(self._totals):
                waiting, before = self.of(i)
                ops.fold(waiting, before, out=total)
            self._waiting, self._has_sum = [], True
        self._waiting.append([gradient.contiguous() for gradient in gradients])

    def of(self, i: int) -> Summands:
        """Return what parameter `i`'s gradient is the sum of: a list in its order, a sum before."""
        return [of_all[i] for of_all in self._waiting], self._totals[i] if self._has_sum else None

    def norm(self, run: Run) -> float:
        """Return the norm of the sum of all that was taken; `run` maps over the parts.

        Squares are added parameter by parameter, whoever worked on them.
        """
        found = [0.0] * len(self.masters)
        for part, squares in zip(
            self.parts, run(self._squares, range(len(self.parts))), strict=True
        ):
            for i, square in zip(part, squares, strict=True):
                found[i] = square
        return math.sqrt(sum(found))

    def clear(self) -> None:
        """Drop what was taken: the next step begins."""
        self._waiting, self._has_sum = [], False

    def _squares(self, part: int) -> list[float]:
        return [ops.fold(*self.of(i), out=None) for i in self.parts[part]]


@dataclass(frozen=True)
class Rates:
    """What one step multiplies by.

    Attributes:
        learning_rate: of this step.
        beta1: of the first moment.
        beta2: of the second moment.
        epsilon: beside the root of the second moment.
        decay: decoupled weight decay.
        shrink: of the gradient, by clipping.
    """

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    decay: float
    shrink: float


def clip_factor(norm: float, limit: float) -> float:
    """Return what the gradient is multiplied by so that its norm is at most `limit`."""
    factor = limit / (norm + CLIP_EPSILON)
    return factor if not factor > 1 else 1.0  # a norm that is no number makes the gradient none


def update_master(
    master: Tensor,
    state: dict[str, Tensor],
    gradient: Summands,
    copy: Tensor | None,
    rates: Rates,
) -> None:
    """Take one AdamW step in place (Loshchilov & Hutter 2019).

    Args:
        master: float32.
        state: torch's `step`, `exp_avg` and `exp_avg_sq` of this master; filled where empty.
        gradient: what it is the sum of, not yet clipped.
        copy: bf16, takes the new master; None where the model computes in the master itself.
        rates: of this step.
    """
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(master), torch.zeros_like(master)
    state["step"] += 1
    count = int(state["step"])
    numbers = (
        rates.shrink,
        rates.beta1,
        rates.beta2,
        rates.epsilon,
        1 - rates.learning_rate * rates.decay,
        rates.learning_rate / (1 - rates.beta1**count),
        (1 - rates.beta2**count) ** -0.5,
    )
    moments = state["exp_avg"], state["exp_avg_sq"]
    ops.adamw(master, moments, *gradient, copy, numbers=numbers)
