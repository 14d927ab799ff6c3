"""Keys and values in blocks, and the rows of one forward pass that read and write them.

    store = PagedStore(config, windows=None, block_tokens=32, dtype=torch.bfloat16)
    store.fit([pool.capacity for pool in blocks.pools])
    rows = PagedRows(store, tables, lengths=[70, 9], counts=[1, 1], alphas=[1, 1])
    model.hidden(ids_B1, cache=rows)

Every layer's blocks are (blocks, K, block, E). Layers of equal window share their tables, so what
depends on tables and lengths is worked out once a pass. int8 keeps one scale a token and head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from openqwen.infer.blocks import SCRATCH, Group
from openqwen.model.attention import Attend, Slots, attend
from openqwen.model.config import ModelConfig
from openqwen.model.long_context import NO_EXTENSION, LongContext

Table = np.ndarray[tuple[int, int], np.dtype[np.int32]]  # (B, N): each row's blocks, by place
SCALE_BYTES = 4


class PagedStore:
    """All layers' blocks.

    Attributes:
        groups: layers of equal window, in the order of the block manager's pools.
        group_of: for each layer, its group.
        block_tokens: tokens a block.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        windows: Sequence[int] | None,
        block_tokens: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        is_int8: bool = False,
    ) -> None:
        """Begin without a block."""
        of_layers: list[int | None] = [None] * config.num_hidden_layers
        if windows is not None:
            of_layers = list(windows)
        kinds = list(dict.fromkeys(of_layers))
        self.group_of = [kinds.index(window) for window in of_layers]
        self.block_tokens, self.is_int8, self.device = block_tokens, is_int8, torch.device(device)
        self._heads, self._size, self._dtype = config.num_key_value_heads, config.head_dim, dtype
        token_bytes = 2 * self._heads * self._size * (1 if is_int8 else dtype.itemsize)
        token_bytes += 2 * self._heads * SCALE_BYTES if is_int8 else 0
        self.groups = [
            Group(window, of_layers.count(window) * token_bytes * block_tokens) for window in kinds
        ]
        self._keys = [self._empty() for _ in of_layers]
        self._values = [self._empty() for _ in of_layers]
        self._scales = [(self._empty_scales(), self._empty_scales()) for _ in of_layers]

    def fit(self, capacities: Sequence[int]) -> None:
        """Grow each group's layers to so many blocks; fewer than there are means anew."""
        for layer, group in enumerate(self.group_of):
            count = capacities[group]
            if count != len(self._keys[layer]):
                self._keys[layer] = _resized(self._keys[layer], count)
                self._values[layer] = _resized(self._values[layer], count)
                if self.is_int8:
                    keys, values = self._scales[layer]
                    self._scales[layer] = _resized(keys, count), _resized(values, count)

    def blocks(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values, (blocks, K, block, E)."""
        return self._keys[layer], self._values[layer]

    def write(
        self, layer: int, blocks_N: Tensor, offsets_N: Tensor, k_NKE: Tensor, v_NKE: Tensor
    ) -> None:
        """Store one token's keys and values at each of N places."""
        keys, values = self.blocks(layer)
        if not self.is_int8:
            keys[blocks_N, :, offsets_N] = k_NKE
            values[blocks_N, :, offsets_N] = v_NKE
            return
        for store, scales, x_NKE in zip(
            (keys, values), self._scales[layer], (k_NKE, v_NKE), strict=True
        ):
            scale_NK1 = x_NKE.float().abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
            store[blocks_N, :, offsets_N] = (x_NKE / scale_NK1).round().to(torch.int8)
            scales[blocks_N, :, offsets_N] = scale_NK1

    def read(self, layer: int, at_BKN: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (B, K, N · block, E) of the blocks at these places.

        `at_BKN` is block · K + head.
        """
        shape, at_M = (*at_BKN.shape[:2], -1, self._size), at_BKN.flatten()
        keys, values = (x.flatten(0, 1).index_select(0, at_M) for x in self.blocks(layer))
        if self.is_int8:
            of_keys, of_values = (
                x.flatten(0, 1).index_select(0, at_M) for x in self._scales[layer]
            )
            keys, values = (keys * of_keys).to(self._dtype), (values * of_values).to(self._dtype)
        return keys.view(shape), values.view(shape)

    def wipe(self, tables: Sequence[Sequence[int]]) -> None:
        """Zero a sequence's blocks and the scratch block: masked values must not be NaN."""
        for layer, group in enumerate(self.group_of):
            blocks = torch.tensor([SCRATCH, *tables[group]], device=self.device)
            for store in (*self.blocks(layer), *self._scales[layer]):
                if len(store):
                    store[blocks] = 0

    def _empty(self) -> Tensor:
        kind = torch.int8 if self.is_int8 else self._dtype
        shape = (0, self._heads, self.block_tokens, self._size)
        return torch.empty(shape, dtype=kind, device=self.device)

    def _empty_scales(self) -> Tensor:
        return torch.empty(0, self._heads, self.block_tokens, 1, device=self.device)


@dataclass
class _Reach:
    """What one pass needs of a group's tables, the same for all its layers."""

    blocks_N: Tensor
    offsets_N: Tensor
    at_BKN: Tensor
    starts: list[int]
    seen_B11S: Tensor | None


class PagedRows:
    """The rows of one forward pass, as the model's `SequenceCache`.

    Attributes:
        long_context: the methods in force.
        alphas: dynamic NTK's α of each row.
        lengths: tokens stored of each row.
    """

    def __init__(
        self,
        store: PagedStore,
        tables: Sequence[Table],
        *,
        lengths: Sequence[int],
        counts: Sequence[int],
        alphas: Sequence[int],
        long_context: LongContext = NO_EXTENSION,
        row_by_row: bool = False,
    ) -> None:
        """Join rows whose blocks are reserved.

        Args:
            store: the blocks.
            tables: for each group (B, N), blocks by place.
            lengths: tokens stored of each row.
            counts: tokens that each row adds; what is padded behind them goes to the scratch block.
            alphas: of each row.
            long_context: the methods in force.
            row_by_row: attend to each row in a call of its own, whose shape no other row changes.
        """
        self.long_context = long_context
        self.alphas, self.lengths = list(alphas), list(lengths)
        self._store, self._tables, self._counts = store, tables, list(counts)
        self._row_by_row = row_by_row
        self._reaches: dict[int, _Reach] = {}
        self._slots: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

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
        group, width = self._store.group_of[layer], q_BHTE.shape[2]
        reach = self._reaches.get(group)
        if reach is None:
            reach = self._reaches[group] = self._look(group, width)
        k_NKE, v_NKE = (x.transpose(1, 2).flatten(0, 1) for x in (k_BKTE, v_BKTE))
        self._store.write(layer, reach.blocks_N, reach.offsets_N, k_NKE, v_NKE)
        if max(self.lengths) == 0:
            return (by or attend)(q_BHTE, k_BKTE, v_BKTE, starts=[0], window=window)
        if self._row_by_row:
            rows = [
                self._attend_alone(layer, row, q_BHTE[row : row + 1], reach, window, by or attend)
                for row in range(len(self.lengths))
            ]
            return torch.cat(rows)
        keys_BKSE, values_BKSE = self._store.read(layer, reach.at_BKN)
        if reach.seen_B11S is not None:
            return functional.scaled_dot_product_attention(
                q_BHTE,
                keys_BKSE,
                values_BKSE,
                attn_mask=reach.seen_B11S,
                enable_gqa=q_BHTE.shape[1] != keys_BKSE.shape[1],
            )
        end = max(reach.starts) + width
        starts = reach.starts[:1] if len(set(reach.starts)) == 1 else reach.starts
        return (by or attend)(
            q_BHTE, keys_BKSE[:, :, :end], values_BKSE[:, :, :end], starts=starts, window=window
        )

    def slots(self, layer: int, like: Tensor, *, window: int | None) -> Slots | None:
        """Say where each row's token goes; None where keys are not stored as they are."""
        if self._store.is_int8:
            return None
        group = self._store.group_of[layer]
        found = self._slots.get(group)
        if found is None:
            next_B = np.array(self.lengths, dtype=np.int32)
            low_B = np.zeros_like(next_B) if window is None else np.maximum(next_B + 1 - window, 0)
            table_BN = np.ascontiguousarray(self._tables[group])
            found = torch.from_numpy(table_BN), torch.from_numpy(next_B), torch.from_numpy(low_B)
            self._slots[group] = found
        return Slots(*self._store.blocks(layer), *found)

    def advance(self, counts: Sequence[int]) -> None:
        """Count the rows' tokens as stored; the rows serve one pass."""
        self.lengths = [n + more for n, more in zip(self.lengths, self._counts, strict=True)]

    def _attend_alone(
        self, layer: int, row: int, q_1HTE: Tensor, reach: _Reach, window: int | None, by: Attend
    ) -> Tensor:
        size, start, width = self._store.block_tokens, reach.starts[row], q_1HTE.shape[2]
        num_blocks = -(-(start + width) // size)
        keys, values = self._store.read(layer, reach.at_BKN[row : row + 1, :, :num_blocks])
        end = start + width
        return by(q_1HTE, keys[:, :, :end], values[:, :, :end], starts=[start], window=window)

    def _look(self, group: int, width: int) -> _Reach:
        """Work out where a group's tokens go and which blocks its queries see."""
        size, table_BN = self._store.block_tokens, self._tables[group]
        start_B1 = np.array(self.lengths)[:, None]
        rows_B1 = np.arange(len(start_B1))[:, None]
        places_BT = start_B1 + np.arange(width)
        is_token_BT = np.arange(width) < np.array(self._counts)[:, None]
        columns_BT = np.minimum(places_BT // size, table_BN.shape[1] - 1)
        blocks_BT = np.where(is_token_BT, table_BN[rows_B1, columns_BT], SCRATCH)
        lows_B1 = np.array([[self._store.groups[group].low(n)] for n in self.lengths]) // size
        if width > 1 and not self._row_by_row:
            lows_B1 = np.full_like(lows_B1, lows_B1.min())  # one frame for all rows' queries
        starts_B1 = start_B1 - lows_B1 * size
        num_columns = int(-(-(starts_B1.max() + width) // size))
        seen_columns_BN = lows_B1 + np.arange(num_columns)
        inside_BN = np.minimum(seen_columns_BN, table_BN.shape[1] - 1)
        at_BN = np.where(seen_columns_BN < table_BN.shape[1], table_BN[rows_B1, inside_BN], SCRATCH)
        heads = self._store.blocks(0)[0].shape[1]
        at_BKN = at_BN[:, None, :].astype(np.int64) * heads + np.arange(heads)[:, None]
        seen_B11S = None
        if width == 1 and len(set(starts_B1[:, 0].tolist())) > 1:
            places_BS = lows_B1 * size + np.arange(num_columns * size)
            window = self._store.groups[group].window
            seen_BS = places_BS <= start_B1
            if window is not None:
                seen_BS &= places_BS > start_B1 - window
            seen_B11S = self._tensor(seen_BS[:, None, None])
        return _Reach(
            self._tensor(blocks_BT.flatten().astype(np.int64)),
            self._tensor((places_BT % size).flatten()),
            self._tensor(at_BKN),
            starts_B1[:, 0].tolist(),
            seen_B11S,
        )

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(self._store.device)


def _resized(store: Tensor, count: int) -> Tensor:
    """Return so many blocks, those of `store` in front; zeros, as masked values must not be NaN."""
    resized = store.new_zeros(count, *store.shape[1:])
    if count > len(store):
        resized[: len(store)] = store
    return resized
