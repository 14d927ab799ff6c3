"""Checkpoints that ranks write together, each its own shards, and that any number of them reads.

    save_sharded(directory, step, optimiser.state(), facts, keep=2)      # on every rank
    step, tensors, facts = load_newest(directory)                        # of either form
    optimiser.load_state(tensors)                                        # each rank its shards

The data is torch's distributed checkpoint (DCP); its index is a pickle, so only our own, whose
every byte is as the sealed facts tell, is read. Folders, facts and policy are `checkpoint.py`'s.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from openqwen.core.errors import UserError
from openqwen.core.files import flush_directory, list_files
from openqwen.parallel.mesh import host_group
from openqwen.train.checkpoint import (
    SAFETENSORS,
    TENSORS,
    Usable,
    file_facts,
    newest_whole,
    open_checkpoint,
    prune,
    remove,
    seal,
)

SHARDED = "sharded"  # the form of many ranks: torch's distributed checkpoint

Result = TypeVar("Result")


def save_sharded(
    directory: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, keep: int
) -> Path:
    """Write checkpoint `step` of all ranks, then remove all but the newest `keep`.

    Every rank calls it; it may run in a thread beside the training's own collectives. Each rank
    writes and hashes its own files; the first seals the folder when all have ended well.

    Args:
        directory: of the checkpoints, the same for every rank.
        step: how many steps have been taken.
        tensors: DTensors, and plain tensors that are equal on every rank.
        facts: JSON that comes back with the checkpoint; the first rank's count.
        keep: how many stay.

    Returns:
        Its folder.

    Raises:
        OSError: on every rank, if one can't write; nothing of it is left, the others stay.
    """
    target = directory / f"step-{step:08}"
    try:
        _together(lambda: open_checkpoint(directory, step) if _is_first() else None)
        _save(target, tensors)
        hashes = _together(lambda: _own_hashes(target))
        files = {name: found for own in hashes for name, found in own.items()}
        _together(lambda: seal(target, step, SHARDED, facts, files) if _is_first() else None)
    except BaseException:
        if _is_first():
            remove(target)
        raise
    _together(lambda: prune(directory, keep=keep) if _is_first() else None)
    return target


def load_newest(
    directory: Path, *, usable: Usable | None = None
) -> tuple[int, Mapping[str, Tensor], dict[str, Any]] | None:
    """Return step, tensors and facts of the newest whole checkpoint; None where there is none.

    With a process group open every rank calls it and gets the same, which the first one has chosen.

    Args:
        directory: of the checkpoints.
        usable: told a checkpoint's facts, whether it may be taken; any may where None.
    """
    found = newest_whole(directory, usable=usable) if _is_first() else None
    if dist.is_initialized():
        box = [found]
        dist.broadcast_object_list(box, src=0)
        found = box[0]
    if found is None:
        return None
    form = found.facts["form"]
    if form == SHARDED:
        return found.step, SavedShards(found.path), found.facts
    if form == SAFETENSORS:
        return found.step, load_file(found.path / TENSORS), found.facts
    raise UserError(f"{found.path} is a checkpoint of the unknown form {form!r}")


class SavedShards(Mapping[str, Tensor]):
    """The tensors of a sharded checkpoint, none of them in memory: read whole, or into shards."""

    def __init__(self, path: Path) -> None:
        """Take a checkpoint's folder whose every byte is as it was written."""
        self.path = path

    @cached_property
    def _stored(self) -> dict[str, TensorStorageMetadata]:
        metadata = FileSystemReader(self.path).read_metadata()
        return {
            name: entry
            for name, entry in metadata.state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }

    def __getitem__(self, name: str) -> Tensor:
        """Return one whole tensor, on the CPU."""
        entry = self._stored[name]
        whole = torch.empty(entry.size, dtype=entry.properties.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that nobody else reads is meant
            dcp_load({name: whole}, storage_reader=FileSystemReader(self.path), no_dist=True)
        return whole

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._stored)

    def __len__(self) -> int:
        """Return how many tensors there are."""
        return len(self._stored)

    def read_into(self, targets: dict[str, Tensor]) -> None:
        """Fill the targets, DTensors among them, each rank only its own; all ranks must call it.

        Raises:
            KeyError: if a tensor is missing.
        """
        missing = sorted(targets.keys() - self._stored.keys())
        if missing:
            raise KeyError(missing[0])
        reader = FileSystemReader(self.path)
        dcp_load(targets, storage_reader=reader, process_group=host_group())


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _save(target: Path, tensors: dict[str, Tensor]) -> None:
    """Let every rank write its shards and the first the index.

    Raises:
        OSError: on every rank, where that is why one could not.
    """
    try:
        dcp_save(tensors, storage_writer=FileSystemWriter(target), process_group=host_group())
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            if isinstance(cause, OSError):
                raise cause from error
        raise RuntimeError(f"{target} could not be written: {error}") from error
    flush_directory(target)


def _own_hashes(target: Path) -> dict[str, dict[str, Any]]:
    """Return the facts of the files that this rank has written."""
    index = target / ".metadata"
    own = [p for p in list_files(target) if p.name.startswith(f"__{dist.get_rank()}_")]
    if _is_first():
        own.append(index)
    return {path.relative_to(target).as_posix(): file_facts(path) for path in own}


def _together(work: Callable[[], Result]) -> list[Result]:
    """Return what every rank's work returned; where one fails, all raise its OSError.

    Raises:
        OSError, RuntimeError: what the first rank that failed raised.
    """
    result: Result | None = None
    failure: Exception | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    outcomes: list[Any] = [None] * dist.get_world_size(host_group())
    told = (
        failure if failure is None or isinstance(failure, OSError) else RuntimeError(str(failure))
    )
    dist.all_gather_object(outcomes, (result, told), group=host_group())
    for _, theirs in outcomes:
        if theirs is not None:
            raise theirs
    return [found for found, _ in outcomes]
