"""Keys and values of a batch of sequences, and what is fixed for each of them.

    cache = KVCache(config, prompt_lengths=[150, 70], long_context=LongContext(ntk=True))
    model.hidden(ids_BT, cache=cache, lengths_B=[150, 70])     # prefill, right-padded
    model.hidden(next_B1, cache=cache)                          # one token a row

A row's α is set by its prompt's length before its first chunk and never changes: keys are stored
rotated, so those in the cache must have been rotated with the α in force.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.model.attention import attend
from openqwen.model.config import ModelConfig
from openqwen.model.long_context import NO_EXTENSION, LongContext

GROWTH_TOKENS = 64


class KVCache:
    """Rotated keys and values of B sequences, each with its own length and α.

    Attributes:
        long_context: the methods these sequences were started with.
        alphas: dynamic NTK's α of each row.
        lengths: tokens cached of each row.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        prompt_lengths: Sequence[int],
        long_context: LongContext = NO_EXTENSION,
    ) -> None:
        """Start empty; `prompt_lengths` are the whole prompts', whatever the first chunk holds."""
        self.long_context = long_context
        self.alphas = [long_context.alpha(n, config.train_length) for n in prompt_lengths]
        self.lengths = [0] * len(prompt_lengths)
        self._keys: list[Tensor | None] = [None] * config.num_hidden_layers
        self._values: list[Tensor | None] = [None] * config.num_hidden_layers

    def attend(
        self, layer: int, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, *, window: int | None
    ) -> Tensor:
        """Store rotated keys and values behind each row's own; return what the queries gather."""
        k_BKSE, v_BKSE = self._append(layer, k_BKTE, v_BKTE)
        starts = self.lengths[:1] if len(set(self.lengths)) == 1 else self.lengths
        return attend(q_BHTE, k_BKSE, v_BKSE, starts=starts, window=window)

    def _append(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values after each row's cached ones; return all of them.

        The lengths move on only with `advance`, once a forward pass has written every layer.

        Returns:
            Keys and values (B, K, S, E), S the longest row with its new tokens; what stands in a
            shorter row past its end is undefined and must be masked.
        """
        num_new = k_BKTE.shape[2]
        longest = max(self.lengths) + num_new
        found = []
        for store, new in ((self._keys, k_BKTE), (self._values, v_BKTE)):
            whole = _grown(store[layer], new, longest)
            store[layer] = whole
            if len(set(self.lengths)) == 1:
                whole[:, :, self.lengths[0] : longest] = new
            elif num_new == 1:
                rows = torch.arange(len(self.lengths), device=new.device)
                whole[rows, :, torch.tensor(self.lengths, device=new.device)] = new[:, :, 0]
            else:
                for row, start in enumerate(self.lengths):
                    whole[row, :, start : start + num_new] = new[row]
            found.append(whole[:, :, :longest])
        return found[0], found[1]

    def advance(self, counts: Sequence[int]) -> None:
        """Count `counts[b]` more tokens in row b; padding behind them is overwritten next."""
        self.lengths = [n + more for n, more in zip(self.lengths, counts, strict=True)]

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order, as finished sequences leave a batch."""
        self.alphas = [self.alphas[row] for row in rows]
        self.lengths = [self.lengths[row] for row in rows]
        for store in (self._keys, self._values):
            for layer, whole in enumerate(store):
                if whole is not None:
                    store[layer] = whole[list(rows)]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one layer's cached keys and values (B, K, S, E), S the longest row.

        Raises:
            ValueError: if nothing has been cached yet.
        """
        keys, values = self._keys[index], self._values[index]
        if keys is None or values is None:
            raise ValueError("the cache is empty")
        longest = max(self.lengths)
        return keys[:, :, :longest], values[:, :, :longest]


def _grown(store: Tensor | None, like: Tensor, length: int) -> Tensor:
    """Return storage (B, K, ≥ length, E) with what `store` held; doubles when it must grow."""
    if store is not None and store.shape[2] >= length:
        return store
    capacity = length + GROWTH_TOKENS if store is None else max(length, 2 * store.shape[2])
    batch, heads, _, size = like.shape
    # zeros: attention multiplies masked values by 0, which must not meet a NaN of old memory
    grown = torch.zeros(batch, heads, capacity, size, dtype=like.dtype, device=like.device)
    if store is not None:
        grown[:, :, : store.shape[2]] = store
    return grown
