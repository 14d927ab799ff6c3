"""Recompute: keep each layer's input only, work out the rest again in the backward pass.

    apply_recompute(model, "layer")        # in place; names and values stay the same

Memory of activations falls from everything in a layer to its input, (B, T, D), for one more forward
pass: a third more work (Chen et al. 2016). On torch's own checkpointing. It goes around whatever
the layer is, plain, compiled or fused (openqwen/train/fused.py): apply it after fusing.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openqwen.model.attention import Placement
from openqwen.model.backbone import Backbone
from openqwen.model.layers import Dropout


def apply_recompute(model: Backbone, how: str) -> None:
    """Make every layer recompute, in place; gradients are the same to the bit.

    Args:
        model: a decoder or a scorer.
        how: `layer`, or `none` for nothing.

    Raises:
        ValueError: if `how` is something else.
    """
    if how not in ("none", "layer"):
        raise ValueError(f"recompute must be none or layer, got {how!r}")
    for layer in model.layers:
        if how == "layer" and not isinstance(layer, Recomputed):
            put_on(layer, Recomputed)


def put_on(layer: nn.Module, behaviour: type) -> None:
    """Let a layer be of a class made of `behaviour` and its own: same parameters, same names."""
    own: Any = type(layer)
    layer.__class__ = _class_of(behaviour, own)


@functools.cache  # one class for all layers: compiled code asks for the class
def _class_of(behaviour: Any, own: Any) -> Any:
    return type(behaviour.__name__ + own.__name__, (behaviour, own), {})


class Recomputed(nn.Module):
    """A layer whose inner values are not kept for the backward pass."""

    def forward(self, x_BTD: Tensor, placement: Placement, **options: Any) -> Tensor:
        """Return what the layer returns."""
        plain = super().forward
        if not torch.is_grad_enabled() or options.get("cache") is not None:
            kept: Tensor = plain(x_BTD, placement, **options)
            return kept
        result: Tensor = checkpoint(
            plain,
            x_BTD,
            placement,
            use_reentrant=False,
            preserve_rng_state=False,  # the only draws are dropout's, from its own generator
            context_fn=functools.partial(_same_draws, options.get("dropout")),
            **options,
        )
        return result


def _same_draws(
    dropout: Dropout | None,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Return what surrounds the forward pass and its repetition."""
    if dropout is None or dropout.p == 0:
        return contextlib.nullcontext(), contextlib.nullcontext()
    return contextlib.nullcontext(), _again(dropout.generator, dropout.generator.get_state())


@contextlib.contextmanager
def _again(generator: torch.Generator, state: Tensor) -> Iterator[None]:
    """Draw from `state` inside the block; afterwards the generator stands where it stood."""
    now = generator.get_state()
    generator.set_state(state)
    try:
        yield
    finally:
        generator.set_state(now)
