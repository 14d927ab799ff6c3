"""Weights of a sharded model as safetensors, each rank its own file; no rank ever holds the model.

    write_shares(out, model, dtype=torch.bfloat16)        # on every rank

The tensors' list is cut into one run a rank of about equal bytes. One after the other is put
together, written by the rank it belongs to and dropped: beside its shards a rank holds one tensor.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from openqwen.core.files import atomic_path, write_json
from openqwen.model.backbone import Backbone
from openqwen.model.formats.parts import Part
from openqwen.model.formats.stream import file_header, shard_name
from openqwen.model.formats.weights import INDEX_NAME
from openqwen.parallel.unpack import published_names
from openqwen.train.sharded_state import parts_of


def is_sharded(model: Backbone) -> bool:
    """Return whether a model's parameters are spread over ranks."""
    return isinstance(model.embed_tokens.weight, DTensor)


def write_shares(directory: Path, model: Backbone, *, dtype: torch.dtype) -> None:
    """Write the weights under their published names, a file a rank, and the index of them all.

    Every rank must call it, outside a forward pass. The index, written last and by the first rank,
    makes the files a model.

    Args:
        directory: made if missing, the same for every rank.
        model: of `parallelize`.
        dtype: of the written weights.
    """
    parts = parts_of(model)
    ours = {published: name for name, published in published_names(parts).items()}
    parameters = dict(model.named_parameters())
    assert parameters.keys() == set(ours.values()), "parts and parameters have other names"
    shares = cut_shares(parts, dist.get_world_size())
    rank = dist.get_rank()
    own = shares[rank] if rank < len(shares) else []
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / shard_name(rank + 1, len(shares))
    with _opened(path, parts, own, dtype) as file:
        for number, names in enumerate(shares):
            for name in names:
                whole = _whole(parameters[ours[name]], dtype)
                if number == rank and file is not None:
                    file.write(whole.view(-1).view(torch.uint8).numpy().data)
                del whole
    dist.barrier()
    if rank == 0:
        files = {n: shard_name(i, len(shares)) for i, ns in enumerate(shares, 1) for n in ns}
        total = sum(_num_elements(part) for part in parts.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": files}
        write_json(directory / INDEX_NAME, index)


def cut_shares(parts: Mapping[str, Part], num_ranks: int) -> list[list[str]]:
    """Return the names in order, cut into at most `num_ranks` runs of about as many elements."""
    total = sum(_num_elements(part) for part in parts.values())
    shares: list[list[str]] = []
    done, last = 0, -1
    for name, part in parts.items():
        size = _num_elements(part)
        number = (done + size // 2) * num_ranks // total  # whose run its middle falls into
        if number != last:
            shares.append([])
        shares[-1].append(name)
        done, last = done + size, number
    return shares


@contextlib.contextmanager
def _opened(
    path: Path, parts: Mapping[str, Part], names: list[str], dtype: torch.dtype
) -> Iterator[BinaryIO | None]:
    """Yield the file for some tensors, opened behind its header; None where there are none."""
    if not names:
        yield None
        return
    header = file_header({name: parts[name].shape for name in names}, dict.fromkeys(names, dtype))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        yield file


@torch.no_grad()
def _whole(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a parameter put together, on the CPU; every rank takes part."""
    converted = parameter.detach().to(dtype)
    assert isinstance(converted, DTensor), "a type's change leaves it sharded"
    whole: Tensor = converted.full_tensor()
    return whole.cpu().contiguous()


def _num_elements(part: Part) -> int:
    return part.rows * (part.columns or 1)
