"""Norms of weights and updates, and how large activations are, every so many steps on request.

    before = masters_before(trainer.state())            # then the step
    row = weight_statistics(before, trainer.state())
    row["activations"] = activation_statistics(model, lambda: model.hidden(ids_BT), workers)

update ratio = ‖w after − w before‖ / ‖w after‖ of the float32 masters; about 1e-3 a step is common
at the peak of the learning rate (Karpathy, "nn-zero-to-hero"), far more is a sign of trouble.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from openqwen.model.backbone import Backbone, LayerStack
from openqwen.train.engine import Mapper

_LAYER = re.compile(r"layers\.(\d+)\.")
_MASTER = "master."


def masters_before(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of the masters of a trainer's state, for the step that follows."""
    return {name: t.detach().clone() for name, t in tensors.items() if _MASTER in name}


@torch.no_grad()
def weight_statistics(
    before: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return norms of the weights and of their change, whole and by part.

    Args:
        before: what `masters_before` returned before the step.
        tensors: the trainer's state after it.

    Returns:
        `weight_norm`, `update_norm`, `update_ratio` and the same by `parts`: each layer, and each
        matrix outside of the layers.
    """
    squares: dict[str, list[float]] = {}
    for name, old in before.items():
        new = tensors[name]
        of_part = squares.setdefault(_part(name), [0.0, 0.0])
        of_part[0] += _number(new.double().square().sum())
        of_part[1] += _number((new.double() - old.double()).square().sum())
    parts = {part: _norms(*found) for part, found in squares.items()}
    weight, update = (sum(found[i] for found in squares.values()) for i in (0, 1))
    return _norms(weight, update) | {"parts": parts}


@torch.no_grad()
def activation_statistics(
    model: Backbone, run: Callable[[], object], mapper: Mapper
) -> dict[str, dict[str, float]]:
    """Return root mean square and largest magnitude of the residual stream after each part.

    Args:
        model: its layers are run one by one, whatever stack stands in for them.
        run: passes one micro-batch through the model.
        mapper: what measures that model, `optimiser.spread(workers)`.

    Returns:
        `embedding`, `layer 0` … and `norm` (after the final one), each with `rms` and `max`.
    """
    found: dict[str, dict[str, float]] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            wide = output.detach().float()
            rms, largest = wide.square().mean().sqrt(), wide.abs().max()
            found[name] = {"rms": float(rms), "max": float(largest)}

        return look

    stack = model.layers
    model.layers = LayerStack(list(stack))  # a fused stack calls no layer
    watched = {"embedding": model.embed_tokens, "norm": model.norm}
    watched |= {f"layer {i}": layer for i, layer in enumerate(model.layers)}
    hooks = [module.register_forward_hook(watch(name)) for name, module in watched.items()]
    try:
        list(mapper.map(lambda _: run(), [None]))
    finally:
        for hook in hooks:
            hook.remove()
        model.layers = stack
    return {name: found[name] for name in _in_order(found)}


def _in_order(names: Mapping[str, object]) -> list[str]:
    layers = sorted((n for n in names if n.startswith("layer ")), key=lambda n: int(n[6:]))
    return [n for n in ("embedding", *layers, "norm") if n in names]


def _norms(weight_squares: float, update_squares: float) -> dict[str, float]:
    weight, update = weight_squares**0.5, update_squares**0.5
    ratio = update / weight if weight else 0.0
    return {"weight_norm": weight, "update_norm": update, "update_ratio": ratio}


def _part(name: str) -> str:
    """Return the part a state's tensor belongs to: a layer, or a matrix outside of the layers."""
    prefix, _, rest = name.partition(_MASTER)
    layer = _LAYER.search(rest)
    part = f"layer {layer[1]}" if layer else rest.rsplit(".", 1)[0]
    return prefix.replace(".", " ") + part


def _number(scalar: Tensor) -> float:
    whole = getattr(scalar, "full_tensor", None)  # of a DTensor, whose shards are summed
    return float(scalar if whole is None else whole())
