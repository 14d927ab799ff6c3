"""Low-rank adapters: train a few per cent of the weights, then fold them in (Hu et al. 2021).

    add_lora(model, rank=16, alpha=32.0, targets=("qkv", "out", "gate_up", "down"), seed=0)
    ...                                   # train; only the adapters require gradients
    merge_lora(model)                     # plain matrices again, the same names as before

y = W·x + alpha/rank · B·(A·x), with B zero at first, so that nothing changes before training. There
is no dropout inside an adapter; embeddings and the output projection stay as they are.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from openqwen.model.backbone import Backbone

TARGETS = {
    "qkv": "attention.qkv",
    "out": "attention.out",
    "gate_up": "mlp.gate_up",
    "down": "mlp.down",
}


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable product of two thin matrices beside it."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float) -> None:
        """Wrap `base`; the adapter starts as zero once `reset` has drawn A."""
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        like = base.weight
        self.lora_a = nn.Parameter(like.new_zeros(rank, base.in_features))
        self.lora_b = nn.Parameter(like.new_zeros(base.out_features, rank))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw A uniformly within 1/sqrt(in), as PEFT does; B is zero."""
        bound = self.base.in_features**-0.5
        draw = torch.empty(self.lora_a.shape).uniform_(-bound, bound, generator=generator)
        self.lora_a.copy_(draw)
        self.lora_b.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the base's output plus the adapter's."""
        thin = functional.linear(x, self.lora_a)
        out: Tensor = self.base(x) + self.scale * functional.linear(thin, self.lora_b)
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the base with the product added, worked out in float32."""
        product = self.lora_b.float() @ self.lora_a.float()
        self.base.weight.copy_(self.base.weight.float() + self.scale * product)
        return self.base.requires_grad_(True)


def add_lora(
    model: Backbone, *, rank: int, alpha: float, targets: Sequence[str], seed: int
) -> None:
    """Give the named matrices of every layer an adapter and freeze all else.

    Args:
        model: changed in place; its outputs stay the same.
        rank: of each adapter, at least 1.
        alpha: the product is scaled by alpha / rank.
        targets: of `TARGETS`.
        seed: of A.

    Raises:
        ValueError: if a target is unknown.
    """
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        raise ValueError(f"no matrix {unknown[0]!r} to adapt; there are {', '.join(TARGETS)}")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        for name in targets:
            holder, leaf = _place(layer, TARGETS[name])
            adapted = LoraLinear(getattr(holder, leaf), rank=rank, alpha=alpha)
            adapted.reset(generator)
            setattr(holder, leaf, adapted)


def merge_lora(model: Backbone) -> None:
    """Fold every adapter into its matrix; names and shapes are those of a plain model again."""
    for _, holder, leaf, adapted in adapters_of(model):
        setattr(holder, leaf, adapted.merged())
    model.requires_grad_(True)


def adapters_of(model: Backbone) -> Iterator[tuple[str, nn.Module, str, LoraLinear]]:
    """Yield the matrix's name without ".weight", its holder, its attribute, and the adapter."""
    for index, layer in enumerate(model.layers):
        for path in TARGETS.values():
            holder, leaf = _place(layer, path)
            found = getattr(holder, leaf)
            if isinstance(found, LoraLinear):
                yield f"layers.{index}.{path}", holder, leaf, found


def _place(layer: nn.Module, path: str) -> tuple[nn.Module, str]:
    holder, leaf = path.split(".")
    return getattr(layer, holder), leaf
