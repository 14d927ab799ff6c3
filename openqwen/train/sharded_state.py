"""An optimiser's state between its forms: whole or in shards, our packed names or the published.

    fill_state(optimiser.state(), tensors)               # shards of any mesh, from any form
    packed = packed_state(tensors, parts)                # for one process, which keeps packed names

One process names a state by packed parameters (`master.layers.0.attention.qkv.weight`), ranks by
Qwen2's published names (`master.model.layers.0.self_attn.q_proj.weight`).
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from openqwen.model.backbone import Backbone
from openqwen.model.formats.parts import Part, qwen2_parts, scorer_parts
from openqwen.model.scorer import Scorer

KINDS = ("master", "exp_avg", "exp_avg_sq")
STEP = "step"


@runtime_checkable
class Shards(Protocol):
    """A saved state that can be read straight into the shards of another mesh."""

    def read_into(self, targets: dict[str, Tensor]) -> None:
        """Fill the targets, DTensors among them, each rank only its own; all ranks must call it."""
        ...


class _Reading(Protocol):
    def __getitem__(self, name: str, /) -> Tensor: ...


def parts_of(model: object) -> dict[str, Part]:
    """Return published name -> part of the packed model; nothing for what is no model of ours."""
    if not isinstance(model, Backbone):
        return {}
    return scorer_parts(model.config) if isinstance(model, Scorer) else qwen2_parts(model.config)


@torch.no_grad()
def fill_state(
    targets: dict[str, Tensor], tensors: Mapping[str, Tensor], parts: dict[str, Part]
) -> None:
    """Fill a sharded state from one saved by any number of ranks or by one process.

    Args:
        targets: of `ShardedAdamW.state()`: DTensors by published names, and `step`.
        tensors: `Shards`, or whole tensors under published or packed names.
        parts: of the packed model.

    Raises:
        KeyError: if a tensor is missing.
    """
    if isinstance(tensors, Shards):
        tensors.read_into(targets)
        return
    whole: _Reading = tensors if STEP in tensors else _Published(tensors, parts)
    for name, target in targets.items():
        fill_shard(target, whole[name])


def fill_shard(target: Tensor, whole: Tensor) -> None:
    """Copy what belongs to this rank's shard of `target` out of the whole tensor."""
    if not isinstance(target, DTensor):
        target.copy_(whole)
        return
    shape, offset = compute_local_shape_and_global_offset(
        target.shape, target.device_mesh, target.placements
    )
    place = tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))
    target.to_local().copy_(whole[place])


def packed_state(tensors: Mapping[str, Tensor], parts: dict[str, Part]) -> Mapping[str, Tensor]:
    """Return a state under the packed names; one that has them already as it is.

    Raises:
        KeyError: if a tensor is missing.
    """
    if STEP not in tensors:
        return tensors
    by_parameter: dict[str, list[tuple[int, str]]] = {}
    for published, part in parts.items():
        by_parameter.setdefault(part.parameter, []).append((part.start, published))
    packed = {}
    for parameter, pieces in by_parameter.items():
        names = [name for _, name in sorted(pieces)]
        for kind in KINDS:
            packed[f"{kind}.{parameter}"] = torch.cat([tensors[f"{kind}.{n}"] for n in names])
        packed[f"{STEP}.{parameter}"] = tensors[STEP].clone()
    return packed


class _Published:
    """A packed state read under published names; no step taken yet is zero moments."""

    def __init__(self, tensors: Mapping[str, Tensor], parts: dict[str, Part]) -> None:
        self.tensors, self.parts = tensors, parts

    def __getitem__(self, name: str) -> Tensor:
        kind, _, published = name.partition(".")
        if kind == STEP:
            parameter = next(iter(self.parts.values())).parameter
            return self.tensors.get(f"{STEP}.{parameter}", torch.zeros(()))
        part = self.parts[published]
        stored = f"{kind}.{part.parameter}"
        if kind != "master" and stored not in self.tensors:
            return torch.zeros(part.shape)
        return self.tensors[stored][part.start : part.start + part.rows]
