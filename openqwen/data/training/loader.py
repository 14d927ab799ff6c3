"""Batches of token windows whose order is a function of seed and step alone.

    windows = TokenWindows(shard.tokens_N, context_length=256, seed=0)
    inputs_BT, targets_BT = windows.batch(first=step * 16, size=16)

Nothing is remembered between calls, so a resumed run continues with the very next window.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openqwen.data.training.shards import Span


class TokenWindows:
    """Windows of `context_length` tokens and their next tokens, shuffled anew each epoch."""

    def __init__(
        self,
        tokens_N: NDArray[np.unsignedinteger[Any]],
        *,
        context_length: int,
        seed: int,
        spans: Sequence[Span] = (),
    ) -> None:
        """Cut `tokens_N` into windows; each token but the first is predicted once an epoch.

        Args:
            tokens_N: documents one after the other.
            context_length: tokens of a window.
            seed: order of the windows.
            spans: the documents in their order, for naming them.

        Raises:
            ValueError: if there is not one whole window.
        """
        self.tokens_N, self.context_length, self.seed = tokens_N, context_length, seed
        self.spans = spans
        self.num_windows = (len(tokens_N) - 1) // context_length
        if self.num_windows < 1:
            raise ValueError(f"{len(tokens_N)} tokens hold no window of {context_length}")

    def batch(self, first: int, size: int) -> tuple[Tensor, Tensor]:
        """Return windows `first` … `first + size - 1` of the endless stream of epochs.

        Returns:
            inputs and targets, both (B, T) int64.
        """
        T = self.context_length
        rows = np.empty((size, T + 1), dtype=np.int64)
        for row, index in enumerate(range(first, first + size)):
            start = self.start(index)
            rows[row] = self.tokens_N[start : start + T + 1]
        batch = torch.from_numpy(rows)
        return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()

    def start(self, index: int) -> int:
        """Return where window `index` of the endless stream begins in the tokens."""
        epoch, place = divmod(index, self.num_windows)
        return int(_permutation(self.seed, epoch, self.num_windows)[place]) * self.context_length

    def documents(self, first: int, size: int) -> list[str]:
        """Return the ids of the documents in these windows, in the windows' order, each once."""
        found: dict[str, None] = {}
        for index in range(first, first + size):
            start = self.start(index)
            end = start + self.context_length + 1  # the last target is the next window's first
            place = max(0, bisect_right(self.spans, start, key=lambda span: span.start) - 1)
            while place < len(self.spans) and self.spans[place].start < end:
                found[self.spans[place].id] = None
                place += 1
        return list(found)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_windows: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(num_windows)
