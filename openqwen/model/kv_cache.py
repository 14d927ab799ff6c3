"""Cached keys and values of a batch of sequences, each at its own place.

    cache = KVCache(config, prompt_lengths=[300, 170], long_context=plan)
    model(first_chunk_BT, cache=cache); model(next_BT, cache=cache)

A sequence's α follows its prompt's length before its first chunk and never changes: keys are stored
rotated, so those in the cache must have been rotated with the α in force. A layer with a window
keeps no more than its next queries can see, and up to as much again until it is cleared away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.model.attention import Attend, Slots, attend
from openqwen.model.config import ModelConfig
from openqwen.model.long_context import NO_EXTENSION, LongContext

GROWTH_TOKENS = 64


@dataclass
class _Layer:
    """One layer's storage: slot 0 of every row holds the token at position `first`."""

    keys: Tensor
    values: Tensor
    first: int = 0
    window: int | None = None


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
        self._heads, self._size = config.num_key_value_heads, config.head_dim
        self._layers: list[_Layer | None] = [None] * config.num_hidden_layers
        # of one pass: layers that begin at one position with one window share their places
        self._places: dict[tuple[int, int | None], tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def num_bytes(self) -> int:
        """Return the bytes of the storage, spare room included."""
        stores = [t for layer in self._layers if layer for t in (layer.keys, layer.values)]
        return sum(t.numel() * t.element_size() for t in stores)

    def attend(
        self,
        layer: int,
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
        *,
        window: int | None,
        by: Attend | None = None,
    ) -> Tensor:
        """Store rotated keys and values behind each row's own; return what the queries gather."""
        num_new = k_BKTE.shape[2]
        # of a model split over ranks this one has some of the heads
        kept = self._with_room(layer, k_BKTE, num_new, window, heads=k_BKTE.shape[1])
        starts = [length - kept.first for length in self.lengths]
        for whole, new in ((kept.keys, k_BKTE), (kept.values, v_BKTE)):
            if len(set(starts)) == 1:
                whole[:, :, starts[0] : starts[0] + num_new] = new
            elif num_new == 1:
                rows = torch.arange(len(starts), device=new.device)
                whole[rows, :, torch.tensor(starts, device=new.device)] = new[:, :, 0]
            else:
                for row, start in enumerate(starts):
                    whole[row, :, start : start + num_new] = new[row]
        longest = max(starts) + num_new
        keys_BKSE, values_BKSE = kept.keys[:, :, :longest], kept.values[:, :, :longest]
        same = starts[:1] if len(set(starts)) == 1 else starts
        return (by or attend)(q_BHTE, keys_BKSE, values_BKSE, starts=same, window=window)

    def slots(self, layer: int, like: Tensor, *, window: int | None) -> Slots:
        """Make room for one token a row and say where it goes: each row is one long block."""
        kept = self._with_room(layer, like, 1, window)
        found = self._places.get((kept.first, window))
        if found is None:
            next_B = torch.tensor(self.lengths, dtype=torch.int32) - kept.first
            low_B = torch.zeros_like(next_B)
            if window is not None:
                low_B = (next_B + 1 - window).clamp_min_(0)
            rows_B1 = torch.arange(len(next_B), dtype=torch.int32)[:, None]
            found = self._places[kept.first, window] = (rows_B1, next_B, low_B)
        return Slots(kept.keys, kept.values, *found)

    def advance(self, counts: Sequence[int]) -> None:
        """Count `counts[b]` more tokens in row b; padding behind them is overwritten next."""
        self.lengths = [n + more for n, more in zip(self.lengths, counts, strict=True)]
        self._places.clear()
        for layer in self._layers:
            if layer is not None and layer.window is not None:
                low = max(0, min(self.lengths) + 1 - layer.window)  # the next token sees this one
                if low - layer.first >= max(layer.window, GROWTH_TOKENS):
                    self._forget(layer, low)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order, as finished sequences leave a batch."""
        self.alphas = [self.alphas[row] for row in rows]
        self.lengths = [self.lengths[row] for row in rows]
        self._places.clear()
        for layer in self._layers:
            if layer is not None:
                layer.keys, layer.values = layer.keys[list(rows)], layer.values[list(rows)]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one layer's cached keys and values (B, K, S, E), S the longest row's.

        Raises:
            ValueError: if nothing has been cached yet.
        """
        kept = self._layers[index]
        if kept is None:
            raise ValueError("the cache is empty")
        longest = max(self.lengths) - kept.first
        return kept.keys[:, :, :longest], kept.values[:, :, :longest]

    def _with_room(
        self, index: int, like: Tensor, num_new: int, window: int | None, heads: int | None = None
    ) -> _Layer:
        """Return a layer's storage with room for `num_new` tokens behind the longest row."""
        layer = self._layers[index]
        if layer is None:
            shape = (len(self.lengths), heads or self._heads, num_new + GROWTH_TOKENS, self._size)
            # zeros: attention multiplies masked values by 0, which must not meet a NaN
            layer = _Layer(like.new_zeros(shape), like.new_zeros(shape), window=window)
            self._layers[index] = layer
        needed, capacity = max(self.lengths) - layer.first + num_new, layer.keys.shape[2]
        if needed > capacity:
            capacity = max(needed, 2 * capacity)
            layer.keys = _resized(layer.keys, 0, capacity)
            layer.values = _resized(layer.values, 0, capacity)
        return layer

    def _forget(self, layer: _Layer, low: int) -> None:
        """Drop a layer's tokens before position `low`, and the memory they took."""
        capacity = max(self.lengths) - low + GROWTH_TOKENS
        layer.keys = _resized(layer.keys, low - layer.first, capacity)
        layer.values = _resized(layer.values, low - layer.first, capacity)
        layer.first = low


def _resized(store_BKSE: Tensor, skip: int, capacity: int) -> Tensor:
    """Return storage for `capacity` tokens with what `store` holds from slot `skip` on."""
    batch, heads, held, size = store_BKSE.shape
    resized = store_BKSE.new_zeros(batch, heads, capacity, size)
    count = min(held - skip, capacity)
    resized[:, :, :count] = store_BKSE[:, :, skip : skip + count]
    return resized
