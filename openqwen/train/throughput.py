"""How fast training could be: FLOPs a token and the measured peak of the model's own products.

    peak = measure_peak(config, num_tokens=1024, dtype=torch.bfloat16, workers=workers)
    share = tokens_per_s * flops_per_token(config, 256) / peak.flops_per_s

The peak is the time-weighted rate of the matrix products of one training step at their own shapes,
forward and both backward ones, measured on this machine in this run; so a share of 100 % would mean
that nothing but these products takes time.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from openqwen.core.workers import Workers
from openqwen.model.config import ModelConfig

REPEATS = 5
PRODUCTS = 3  # a sample, so that starting the workers does not count


@dataclass(frozen=True)
class Peak:
    """Rates in FLOP/s; `best_shape` is (rows, in, out) of the fastest product."""

    flops_per_s: float
    best_flops_per_s: float
    best_shape: tuple[int, int, int]


def flops_per_token(
    config: ModelConfig, context_length: int, *, has_vocabulary: bool = True
) -> int:
    """Return training FLOPs a token: 6·(non-embedding + V·D) + 6·L·T·D (attention, causal).

    A scorer (`has_vocabulary` false) has no output projection.
    """
    D, L = config.hidden_size, config.num_hidden_layers
    products = _products(config) if has_vocabulary else _products(config)[:-1]
    weights = sum(inner * outer * count for inner, outer, count in products)
    return 6 * weights + 6 * L * context_length * D


def measure_peak(
    config: ModelConfig, *, num_tokens: int, dtype: torch.dtype, workers: Workers
) -> Peak:
    """Time the model's matrix products on `num_tokens` rows, all workers at once; medians.

    Args:
        config: the shape whose products are measured.
        num_tokens: rows of a micro-batch.
        dtype: compute type.
        workers: each does every product at the same time as the others, as in training.
    """
    total_flops = total_s = 0.0
    best, best_shape = 0.0, (0, 0, 0)
    for inner, outer, count in _products(config):
        weight = torch.randn(outer, inner).to(dtype)
        inputs, outputs = torch.randn(num_tokens, inner).to(dtype), torch.randn(num_tokens, outer)
        grad = outputs.to(dtype)
        for left, right in ((inputs, weight.T), (grad, weight), (grad.T, inputs)):
            flops = 2 * left.shape[0] * left.shape[1] * right.shape[1] * workers.count
            seconds = _median_seconds(left, right, workers)
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


def _median_seconds(left: torch.Tensor, right: torch.Tensor, workers: Workers) -> float:
    """Return the time in which every worker has done one product."""

    def multiply(_: int) -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right)

    samples = []
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        list(workers.map(multiply, range(workers.count)))
        if repeat:  # the first one warms up
            samples.append((time.perf_counter() - start) / PRODUCTS)
    return statistics.median(samples)
