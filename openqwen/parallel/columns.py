"""Which tokens of every sequence a rank holds, and sums over the ranks that share them.

    targets_BT = own_columns(model, targets_BT)           # all of them without context parallel
    nll = sum_over_columns(model, nll)

A sequence of T tokens is cut into 2n chunks for n ranks; rank r holds chunks r and 2n-1-r, one
after the other. Since a token attends to those before it, all ranks then have the same work.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import ProcessGroup

from openqwen.model.likelihood import IGNORED

ATTRIBUTE = "context_columns"  # of a model whose sequences are spread


class Columns:
    """The ranks that share sequences, seen from one of them."""

    def __init__(self, group: ProcessGroup) -> None:
        """Take the ranks in their order."""
        self.group, self.size, self.rank = group, group.size(), group.rank()

    def chunk(self, width: int) -> int:
        """Return the tokens of one chunk; the last chunks of a sequence may reach beyond it."""
        return -(-width // (2 * self.size))

    def chunks(self) -> tuple[int, int]:
        """Return the numbers of this rank's two chunks."""
        return self.rank, 2 * self.size - 1 - self.rank

    def positions(self, width: int, device: torch.device) -> Tensor:
        """Return the positions of this rank's tokens, (T/n,); `width` and more are padding."""
        size = self.chunk(width)
        parts = [torch.arange(size, device=device) + i * size for i in self.chunks()]
        return torch.cat(parts)

    def take(self, x: Tensor, *, dim: int) -> Tensor:
        """Return this rank's columns of a tensor that has all; padding repeats the last."""
        width = x.shape[dim]
        return x.index_select(dim, self.positions(width, x.device).clamp_max(width - 1))

    def in_order(self, x: Tensor, *, dim: int) -> Tensor:
        """Return all columns, padding too, by position; `x` has rank after rank's."""
        chunks = x.chunk(2 * self.size, dim)
        return torch.cat([*chunks[::2], *reversed(chunks[1::2])], dim)


def columns_of(model: nn.Module) -> Columns | None:
    """Return how a model's sequences are spread, or None where each rank has them whole."""
    return getattr(model, ATTRIBUTE, None)


def own_columns(model: nn.Module, targets_BT: Tensor) -> Tensor:
    """Return the targets of the states that `model.hidden` gives this rank; padding is `IGNORED`.

    Without context parallelism, and where no gradient is recorded, those are all of them.
    """
    columns = columns_of(model)
    if columns is None or not torch.is_grad_enabled():
        return targets_BT
    is_padding_T = columns.positions(targets_BT.shape[1], targets_BT.device) >= targets_BT.shape[1]
    return columns.take(targets_BT, dim=1).masked_fill(is_padding_T, IGNORED)


def sum_over_columns(model: nn.Module, value: Tensor) -> Tensor:
    """Return the sum of a value over the ranks that share sequences; the gradient stays one's own.

    Each rank's gradients are a part of the whole, to be added over these ranks as over data ranks.
    Without context parallelism, and where no gradient is recorded, the value is whole already.
    """
    columns = columns_of(model)
    if columns is None or not torch.is_grad_enabled():
        return value
    apply: Callable[..., Tensor] = _SumForward.apply
    return apply(value, columns.group)


class _SumForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: ProcessGroup) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
