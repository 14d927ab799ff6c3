"""Contexts beyond the training length without training (§2.3.2): NTK, dynamic NTK, LogN, windows.

    alpha = ntk_alpha(length=5000, train_length=2048)                  # 7
    theta = ntk_base(10_000.0, alpha, head_dim=128)
    scale_T = logn_scale(positions_T, train_length=2048)
    windows = window_schedule(num_layers=32, train_length=2048)        # 1024 … 8192
    next_step(5000, train_length=2048)                                 # 8193: α becomes 15

Pure functions; what is fixed for one sequence (its α) lives in the sequence's cache.
The formulas are [code]; windows are in no released code and follow the report's text.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from openqwen.model.config import ModelConfig


@dataclass(frozen=True)
class LongContext:
    """Which methods are in force; every one is for inference only.

    Attributes:
        ntk: dynamic NTK-aware interpolation; each sequence's α follows its prompt's length.
        logn: LogN scaling of queries beyond the training length.
        windows: for each layer, how many tokens a query sees, itself included; None for all.
        recompute: start a sequence again whole at the new α where it grows past a step, so that
            decoding gives what one prefill gives; without it α stays the prompt's. An option of
            ours: turning cached keys anew is not equal, since deeper layers' keys come from states
            made under the old α.
    """

    ntk: bool = False
    logn: bool = False
    windows: tuple[int, ...] | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        """Refuse a setting that nothing would act on."""
        if self.recompute and not self.ntk:
            raise ValueError("recompute follows the steps of dynamic NTK: it needs ntk=True")

    def alpha(self, length: int, train_length: int) -> int:
        """Return the α of a sequence whose prompt has `length` tokens; 1 without NTK."""
        return ntk_alpha(length, train_length) if self.ntk else 1

    def recompute_at(self, length: int, train_length: int) -> int | None:
        """Return the length at which a sequence of `length` tokens is started again, or None."""
        return next_step(length, train_length) if self.recompute else None

    def describe(self, alpha: str = "") -> str:
        """Return the methods in words, as `dynamic NTK, LogN, windows 128 … 1,024`; "" for none.

        `alpha` is what to say of α, such as `α 7 at 1,024 tokens`.
        """
        parts = []
        if self.ntk:
            details = [alpha] if alpha else []
            details += ["recomputed at each step"] if self.recompute else []
            parts.append("dynamic NTK" + (f" ({', '.join(details)})" if details else ""))
        parts += ["LogN"] if self.logn else []
        if self.windows is not None:
            low, high = min(self.windows), max(self.windows)
            parts.append(f"windows {low:,}" + (f" … {high:,}" if high > low else ""))
        return ", ".join(parts)


NO_EXTENSION = LongContext()


def plan_long_context(config: ModelConfig, context: int) -> LongContext:
    """Return the methods for contexts of up to `context` tokens: all beyond training, else none.

    Off up to the training length, whatever it is (32,768 tokens for a Qwen2.5 file): the methods
    only help beyond it.
    """
    if context <= config.train_length:
        return NO_EXTENSION
    windows = window_schedule(config.num_hidden_layers, config.train_length)
    return LongContext(ntk=True, logn=True, windows=windows)


def ntk_alpha(length: int, train_length: int) -> int:
    """Return dynamic NTK's α: 1 up to the training length S, 3 up to 2S, 7 up to 4S, 15 up to 8S …

    max(2^ceil(log2(L/S) + 1) − 1, 1), in integers so that the steps are exact.

    Raises:
        ValueError: if `length` or `train_length` is below 1.

    Matches the published Qwen-7B code; another formula than the transformers library's "dynamic".
    """
    if length < 1 or train_length < 1:
        raise ValueError(f"lengths must be at least 1 token, got {length} and {train_length}")
    doublings = (-(-length // train_length) - 1).bit_length()
    return 2 ** (doublings + 1) - 1 if doublings else 1


def next_step(length: int, train_length: int) -> int:
    """Return the length at which α changes next: the first above `length` with another α.

    An engine that keeps a sequence exact (`LongContext.recompute`) drops its cache when it grows to
    this length, and prefills all of its tokens again, prompt and reply, at the α of the new length.

    Raises:
        ValueError: if `length` or `train_length` is below 1.
    """
    if length < 1 or train_length < 1:
        raise ValueError(f"lengths must be at least 1 token, got {length} and {train_length}")
    doublings = (-(-length // train_length) - 1).bit_length()
    return int(train_length << doublings) + 1


def ntk_base(theta: float, alpha: float, *, head_dim: int) -> float:
    """Return the rotary base of NTK-aware interpolation: theta · α^(E/(E−2))."""
    return float(theta * alpha ** (head_dim / (head_dim - 2)))


def logn_scale(positions_T: Tensor, *, train_length: int) -> Tensor:
    """Return each query's factor: log base `train_length` of its 1-based place, at least 1.

    Keeps the entropy of attention stable as the context grows (Su 2023a). Depends on
    each query's own place, never on the sequence's length: the same in prefill and in decoding.

    Args:
        positions_T: 0-based positions of any shape and integer type.
        train_length: context length of training, in tokens; at least 2.

    Returns:
        float32 of the same shape. Exactly 1 up to and including position `train_length - 1`.

    Raises:
        ValueError: if `train_length` is below 2.

    Matches the published Qwen-7B code, whose table ends at position 32,766; this does not.
    """
    if train_length < 2:
        raise ValueError(f"train_length must be at least 2 tokens, got {train_length}")
    place_T = (positions_T + 1).to(torch.float32)
    return (place_T.log() / math.log(train_length)).clamp_min(1.0)


def window_schedule(
    num_layers: int, train_length: int, *, low_share: float = 0.5, high_share: float = 4.0
) -> tuple[int, ...]:
    """Return each layer's window: geometric from T/2 in the lowest layer to 4T in the highest.

    The report says that low layers are more sensitive and get shorter windows; the numbers are
    ours (docs: open question of the report). A single layer gets the widest.

    Args:
        num_layers: layers of the model.
        train_length: training length T, in tokens.
        low_share: window of the lowest layer, as a share of T.
        high_share: window of the highest layer, as a share of T.

    Raises:
        ValueError: if `num_layers` is below 1, `train_length` below 2, or a window would be empty
            or shorter in the highest layer than in the lowest.
    """
    if num_layers < 1 or train_length < 2:
        raise ValueError(f"need layers and a training length, got {num_layers} and {train_length}")
    if not 1 <= low_share * train_length <= high_share * train_length:
        raise ValueError(
            f"windows grow from at least 1 token, got shares {low_share:g} and {high_share:g} of "
            f"a training length of {train_length:,} tokens"
        )
    if num_layers == 1:
        return (round(high_share * train_length),)
    low, growth = low_share * train_length, high_share / low_share
    return tuple(round(low * growth ** (i / (num_layers - 1))) for i in range(num_layers))
