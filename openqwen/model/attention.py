"""Causal attention: rotated grouped queries, optional window, cached keys (§2.3.1, §2.3.2).

Training takes one fused causal call. A window, or queries that continue a cache, are cut into
blocks of queries, each with just the keys it can see, so that work shrinks with the window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from openqwen.model.config import ModelConfig
from openqwen.model.long_context import LongContext
from openqwen.model.rope import rotate

QUERY_BLOCK = 256


@dataclass(frozen=True)
class Slots:
    """Where one layer's keys and values of a batch stand, and where the next token's go.

    Attributes:
        keys: (blocks, K, block, E).
        values: the same.
        table_BN: int32, each sequence's blocks in order.
        next_B: int32, the slot of each sequence's new token: block `slot // block` of its table.
        low_B: int32, the first slot that the new token sees.
    """

    keys: Tensor
    values: Tensor
    table_BN: Tensor
    next_B: Tensor
    low_B: Tensor


class Attend(Protocol):
    """What `attend` is: the plain function below, or a faster one that gives the same."""

    def __call__(
        self,
        q_BHTE: Tensor,
        k_BKSE: Tensor,
        v_BKSE: Tensor,
        *,
        starts: Sequence[int],
        window: int | None,
    ) -> Tensor:
        """Attend causally."""
        ...


class SequenceCache(Protocol):
    """What a forward pass needs of the sequences it continues; `KVCache` is the plain one.

    Attributes:
        long_context: the methods these sequences were started with.
        alphas: dynamic NTK's α of each row.
        lengths: tokens cached of each row.
    """

    long_context: LongContext
    alphas: list[int]
    lengths: list[int]

    def attend(
        self,
        layer: int,
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
        *,
        window: int | None,
        by: "Attend | None" = None,
    ) -> Tensor:
        """Store rotated keys and values behind each row's own; return what the queries gather.

        Row b's first query stands at position lengths[b]; the result is (B, H, T, E). The lengths
        move on only with `advance`, once a forward pass has been through every layer. `by` is a
        faster way to do what `attend` does, where there is one.
        """
        ...

    def slots(self, layer: int, like: Tensor, *, window: int | None) -> "Slots | None":
        """Make room for one token a row and say where it goes; None where `attend` must do.

        `like` has the type and device of the keys. The caller writes the keys and values itself.
        """
        ...

    def advance(self, counts: Sequence[int]) -> None:
        """Count `counts[b]` more tokens in row b; padding behind them is overwritten next."""
        ...


@dataclass(frozen=True)
class Placement:
    """Where the queries of one forward pass stand, shared by all layers.

    Attributes:
        cos_BT1P: cosine of the rotation angles, float32; B is 1 where all rows agree.
        sin_BT1P: sine of the rotation angles, float32.
        scale_BT11: LogN's factor of each query, float32, or None.
        starts: position of each row's first query; one entry where all rows agree.
        seen_B1TS: which keys each query of packed texts sees, or None for all before it.
        gather: takes rotated queries, keys and values, (B, H or K, T, E), and returns what the
            queries gather, where the keys are not all here; None where they are.
    """

    cos_BT1P: Tensor
    sin_BT1P: Tensor
    scale_BT11: Tensor | None
    starts: tuple[int, ...]
    seen_B1TS: Tensor | None = None
    gather: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None


class Attention(nn.Module):
    """Self-attention with a packed (q | k | v) projection, biased, and an unbiased output."""

    def __init__(self, config: ModelConfig) -> None:
        """Build both projections."""
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        q_size = self.num_heads * self.head_dim
        qkv_size = q_size + 2 * self.num_kv_heads * self.head_dim
        self.qkv = nn.Linear(config.hidden_size, qkv_size, bias=config.qkv_bias)
        self.out = nn.Linear(q_size, config.hidden_size, bias=False)

    def forward(
        self,
        x_BTD: Tensor,
        placement: Placement,
        *,
        window: int | None = None,
        cache: SequenceCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Return what each token gathers from those before it and itself, (B, T, D)."""
        batch, length, _ = x_BTD.shape
        heads, kv_heads = self.num_heads, self.num_kv_heads
        qkv_BTNE = self.qkv(x_BTD).view(batch, length, heads + 2 * kv_heads, self.head_dim)
        qk_BTNE = rotate(qkv_BTNE[:, :, : heads + kv_heads], placement.cos_BT1P, placement.sin_BT1P)
        q_BTHE, k_BTKE = qk_BTNE[:, :, :heads], qk_BTNE[:, :, heads:]
        if placement.scale_BT11 is not None:
            q_BTHE = q_BTHE * placement.scale_BT11  # before the cast: bfloat16 would lose 1.0037
        q_BHTE = q_BTHE.to(x_BTD.dtype).transpose(1, 2)
        k_BKSE = k_BTKE.to(x_BTD.dtype).transpose(1, 2)
        v_BKSE = qkv_BTNE[:, :, heads + kv_heads :].transpose(1, 2)
        if cache is not None:
            y_BHTE = cache.attend(layer, q_BHTE, k_BKSE, v_BKSE, window=window)
        elif placement.gather is not None:
            y_BHTE = placement.gather(q_BHTE, k_BKSE, v_BKSE)
        elif placement.seen_B1TS is not None:
            y_BHTE = functional.scaled_dot_product_attention(
                q_BHTE, k_BKSE, v_BKSE, attn_mask=placement.seen_B1TS, enable_gqa=heads != kv_heads
            )
        else:
            y_BHTE = attend(q_BHTE, k_BKSE, v_BKSE, starts=placement.starts, window=window)
        y_BTD: Tensor = self.out(y_BHTE.transpose(1, 2).reshape(batch, length, -1))
        return y_BTD


def attend(
    q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, *, starts: Sequence[int], window: int | None
) -> Tensor:
    """Attend causally from queries that start at `starts` to keys that start at position 0.

    Args:
        q_BHTE: queries; row b's first stands at position starts[b].
        k_BKSE: keys from position 0; H must be a multiple of K.
        v_BKSE: values beside the keys.
        starts: one position a row, or a single one for all rows.
        window: how many tokens a query sees, itself included; None for all.

    Returns:
        (B, H, T, E) of the queries' type.
    """
    num_queries, num_keys = q_BHTE.shape[2], k_BKSE.shape[2]
    grouped = q_BHTE.shape[1] != k_BKSE.shape[1]
    first, last = min(starts), max(starts)
    if window is not None and window >= num_keys:
        window = None
    if window is None and last == 0:
        return functional.scaled_dot_product_attention(
            q_BHTE, k_BKSE, v_BKSE, is_causal=True, enable_gqa=grouped
        )
    blocks = []
    for begin in range(0, num_queries, QUERY_BLOCK):
        end = min(begin + QUERY_BLOCK, num_queries)
        low = 0 if window is None else max(0, first + begin + 1 - window)
        high = last + end
        mask = _visible(starts, begin, end, low, high, window, q_BHTE.device)
        blocks.append(
            functional.scaled_dot_product_attention(
                q_BHTE[:, :, begin:end],
                k_BKSE[:, :, low:high],
                v_BKSE[:, :, low:high],
                attn_mask=mask,
                enable_gqa=grouped,
            )
        )
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)


def _visible(
    starts: Sequence[int],
    begin: int,
    end: int,
    low: int,
    high: int,
    window: int | None,
    device: torch.device,
) -> Tensor | None:
    """Return which keys of low … high-1 the queries see, (B or 1, 1, T, S); None for all."""
    if end - begin == 1 and len(starts) == 1:
        return None  # one token of a uniform batch: the slice of keys is exactly what it sees
    queries_BT1 = (
        torch.tensor(starts, device=device)[:, None]
        + torch.arange(begin, end, device=device)[None, :]
    )[:, :, None]
    keys_S = torch.arange(low, high, device=device)
    seen_BTS = keys_S <= queries_BT1
    if window is not None:
        seen_BTS &= keys_S > queries_BT1 - window
    return seen_BTS[:, None]
