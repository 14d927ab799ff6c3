"""Weights onto a model, so that nothing is left over; out again as safetensors.

fill_model(model, open_tensors(directory), parts)         # proves each parameter is filled once
write_weights(directory / "model.safetensors", model, parts)
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import nn

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, empty_directory
from openqwen.core.workers import Workers
from openqwen.model.formats.parts import Part

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
# converted at a time: small enough for the cache and for memory, large enough for few calls
CHUNK_WEIGHTS = 1 << 19


class TensorSource(Protocol):
    """Named tensors on disk, in a published layout's names; read one at a time."""

    @property
    def where(self) -> Path:
        """Return the file or directory, for messages."""
        ...

    def names(self) -> Sequence[str]:
        """Return every tensor's published name, each once."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading it."""
        ...

    def dtype(self, name: str) -> torch.dtype | None:
        """Return the floating type of a tensor's stored values; None where they are quantised."""
        ...

    def read(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Return rows `start` … `stop - 1` of a tensor as a floating type, on the CPU.

        The rows are not to be changed: they may be the file's own memory.
        """
        ...


@torch.no_grad()
def fill_model(model: nn.Module, source: TensorSource, parts: dict[str, Part]) -> None:
    """Copy every published tensor into its place, converted to the model's type.

    Raises:
        UserError: naming the first tensor that is missing, unknown or of another shape; nothing
            has been copied then.
    """
    parameters = dict(model.named_parameters())
    _check_tiling(parameters, parts)
    alias = check_names(source, parts)

    def fill(name: str, part: Part) -> None:
        target = parameters[part.parameter][part.start : part.start + part.rows]
        step = max(1, CHUNK_WEIGHTS // (part.columns or 1))
        for start in range(0, part.rows, step):
            stop = min(start + step, part.rows)
            target[start:stop].copy_(source.read(name, start, stop))

    with Workers() as workers:
        list(workers.map(fill, parts, parts.values()))
    if alias is not None:
        check_alias(source, alias, parameters["embed_tokens.weight"])


def check_names(source: TensorSource, parts: dict[str, Part]) -> str | None:
    """Hold a source's names and shapes against a layout; nothing is read.

    Returns:
        The name of a head that is stored although the layout ties it, for `check_alias`; or None.

    Raises:
        UserError: naming the first tensor that is missing, unknown or of another shape.
    """
    names = source.names()
    alias = None
    for name in names:
        if name in parts:
            if source.shape(name) != parts[name].shape:
                raise UserError(
                    f"{source.where}: {name} has shape {source.shape(name)}, the configuration "
                    f"asks for {parts[name].shape}"
                )
        elif name == "lm_head.weight":
            alias = name
        else:
            raise UserError(f"{source.where}: unknown tensor {name}")
    missing = sorted(parts.keys() - set(names))
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise UserError(f"{source.where}: tensor {missing[0]} is missing{more}")
    return alias


def check_alias(source: TensorSource, alias: str, tied: torch.Tensor) -> None:
    """Raise UserError unless a stored head is the embedding that the configuration ties it to.

    Some writers store such a head; one that differs is a mistake.
    """
    tensor = source.read(alias)
    if tensor.shape != tied.shape or not torch.equal(tensor.to(tied), tied):
        raise UserError(f"{source.where}: {alias} differs from the embedding that config.json ties")


def write_weights(path: Path, model: nn.Module, parts: dict[str, Part]) -> None:
    """Write the model's parameters under their published names, in their own type, atomically.

    The same weights give the same bytes: a fixed order of tensors, a single metadata key.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    _check_tiling(parameters, parts)
    tensors = {
        name: parameters[part.parameter][part.start : part.start + part.rows].cpu().contiguous()
        for name, part in parts.items()
    }
    save_tensors(path, tensors)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write contiguous CPU tensors as safetensors, atomically, with the usual permissions.

    The library first writes under a random name beside its target. Here that is in a folder of its
    own, which the next write into the same place clears: a kill leaves nothing that stays.
    """
    folder = path.with_name(f".{path.name}.writing")
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        empty_directory(folder)
        try:
            save_file(tensors, folder / path.name, metadata={"format": "pt"})
            (folder / path.name).chmod(mode)  # the library's may be read by its owner only
            (folder / path.name).replace(temporary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check_tiling(parameters: Mapping[str, torch.Tensor], parts: dict[str, Part]) -> None:
    """Assert that the parts cover every row of every parameter exactly once (our own invariant)."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for part in parts.values():
        spans.setdefault(part.parameter, []).append((part.start, part.start + part.rows))
    assert spans.keys() == parameters.keys(), "parts and parameters have other names"
    for name, pieces in spans.items():
        end = 0
        for start, stop in sorted(pieces):
            assert start == end, f"rows of {name} are covered twice or not at all"
            end = stop
        assert end == parameters[name].shape[0], f"rows of {name} are not covered"
