"""What this machine could do at most: memory's reading rate, the rate of a model's own products.

read_bytes_per_s(); product_flops_per_s(config, rows=512, variant="int8")
"""

import time

import torch
from torch import nn

from openqwen.infer.fused import project
from openqwen.infer.quantise import quantised
from openqwen.model.config import ModelConfig

BUFFER_BYTES = 2**30
BITS = {"int8": 8, "int4": 4}


def read_bytes_per_s(buffer: torch.Tensor) -> float:
    """Return the rate of one sum over a float32 buffer beyond the caches, on torch's threads."""
    start = time.perf_counter()
    buffer.sum()
    return buffer.numel() * buffer.element_size() / (time.perf_counter() - start)


def new_buffer() -> torch.Tensor:
    """Return 1 GiB of touched memory."""
    return torch.ones(BUFFER_BYTES // 4)


def layer_products(config: ModelConfig) -> list[tuple[int, int]]:
    """Return (in, out) of each product of one layer."""
    size = config.head_dim
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    hidden, inner = config.hidden_size, config.intermediate_size
    return [
        (hidden, (heads + 2 * kv_heads) * size),
        (heads * size, hidden),
        (hidden, 2 * inner),
        (inner, hidden),
    ]


def prefill_flops(config: ModelConfig, tokens: int) -> float:
    """Return the FLOPs of one prompt: products, causal attention, the last position's logits."""
    weights = sum(2 * a * b for a, b in layer_products(config))
    attention = 2 * config.num_attention_heads * config.head_dim * tokens  # 4·T/2, causal
    head = 2 * config.hidden_size * config.vocab_size
    return config.num_hidden_layers * tokens * (weights + attention) + head


class Products:
    """A layer's matrix products alone, as one of our variants does them."""

    def __init__(self, config: ModelConfig, variant: str) -> None:
        """Make random weights of the model's shapes: several layers, beyond the caches."""
        self.shapes = layer_products(config)
        self.layers = []
        for _ in range(4):
            for inner, outer in self.shapes:
                layer: nn.Module = nn.Linear(inner, outer, bias=False, dtype=torch.bfloat16)
                if variant in BITS:
                    layer = quantised(layer, BITS[variant])  # type: ignore[arg-type]
                self.layers.append(layer)

    @torch.no_grad()
    def flops_per_s(self, rows: int) -> float:
        """Return the time-weighted rate on inputs of `rows` rows, one pass over all shapes."""
        inputs = {k: torch.randn(1, rows, k).to(torch.bfloat16) for k, _ in self.shapes}
        start = time.perf_counter()
        for layer, (inner, _) in zip(self.layers, self.shapes * 4, strict=True):
            project(layer, inputs[inner])
        seconds = time.perf_counter() - start
        return 4 * sum(2 * rows * a * b for a, b in self.shapes) / seconds
