"""How fast training could be: FLOPs a token and the measured peak of the model's own products.

    peak = measure_peak(config, num_tokens=4096, dtype=torch.bfloat16)
    share = tokens_per_s * flops_per_token(config, 256) / peak.flops_per_s

The peak is the time-weighted rate of the matrix products of one training step at their own shapes,
forward and both backward ones, measured on this machine in this run; so a share of 100 % would mean
that nothing but these products takes time.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from openqwen.model.config import ModelConfig

REPEATS = 5


@dataclass(frozen=True)
class Peak:
    """Rates in FLOP/s; `best_shape` is (rows, in, out) of the fastest product."""

    flops_per_s: float
    best_flops_per_s: float
    best_shape: tuple[int, int, int]


def flops_per_token(config: ModelConfig, context_length: int) -> int:
    """Return training FLOPs a token: 6·(non-embedding + V·D) + 6·L·T·D (attention, causal)."""
    D, L = config.hidden_size, config.num_hidden_layers
    weights = sum(inner * outer * count for inner, outer, count in _products(config))
    return 6 * weights + 6 * L * context_length * D


def measure_peak(config: ModelConfig, *, num_tokens: int, dtype: torch.dtype) -> Peak:
    """Time the model's matrix products on `num_tokens` rows; medians of a few repeats."""
    total_flops = total_s = 0.0
    best, best_shape = 0.0, (0, 0, 0)
    for inner, outer, count in _products(config):
        weight = torch.randn(outer, inner).to(dtype)
        inputs, outputs = torch.randn(num_tokens, inner).to(dtype), torch.randn(num_tokens, outer)
        grad = outputs.to(dtype)
        for left, right in ((inputs, weight.T), (grad, weight), (grad.T, inputs)):
            flops = 2 * left.shape[0] * left.shape[1] * right.shape[1]
            seconds = _median_seconds(left, right)
            total_flops += count * flops
            total_s += count * seconds
            if flops / seconds > best:
                best = flops / seconds
                best_shape = (left.shape[0], left.shape[1], right.shape[1])
    return Peak(total_flops / total_s, best, best_shape)


def _products(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Return (in, out, how many) of each weight matrix that multiplies every token."""
    D, F, L, E = (
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.head_dim,
    )
    H, K = config.num_attention_heads, config.num_key_value_heads
    return [
        (D, (H + 2 * K) * E, L),
        (H * E, D, L),
        (D, 2 * F, L),
        (F, D, L),
        (D, config.vocab_size, 1),
    ]


def _median_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    torch.mm(left, right)
    samples = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.mm(left, right)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)
