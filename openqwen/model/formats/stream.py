"""Safetensors files written tensor by tensor, in shards, whatever the size of the model.

    plan = plan_types(weights)                        # name -> type to write
    write_shards(directory, weights, plan)

`safetensors.torch.save_file` wants all tensors in memory; the format itself does not.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, write_json
from openqwen.core.gguf_writer import chunks
from openqwen.model.formats.regroup import Regrouped
from openqwen.model.formats.weights import INDEX_NAME, WEIGHTS_NAME

SHARD_BYTES = 5_000_000_000  # as the common libraries cut
QUANTISED_BECOMES = torch.bfloat16  # where the file has no plain matrix either
NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
EMBEDDING = "embed_tokens.weight"


def main_type(weights: Regrouped) -> torch.dtype:
    """Return the type of the embedding's values, which stands for the model's."""
    name = next(n for n, part in weights.parts.items() if part.parameter == EMBEDDING)
    return weights.dtype(name) or QUANTISED_BECOMES


def has_quantised(weights: Regrouped) -> bool:
    """Return whether some of the stored tensors are quantised."""
    return any(weights.dtype(name) is None for name in weights.parts)


def plan_types(weights: Regrouped, chosen: torch.dtype | None = None) -> dict[str, torch.dtype]:
    """Return the type to write each tensor in: the one asked for, else its own.

    Quantised tensors take the type of the others. A vector of higher precision than the matrices
    (GGUF keeps norms in float32) takes their type if that loses nothing.
    """
    if chosen is not None:
        return dict.fromkeys(weights.parts, chosen)
    main = main_type(weights)
    plan: dict[str, torch.dtype] = {}
    for name, part in weights.parts.items():
        own = weights.dtype(name) or main
        if own != main and part.columns is None:
            vector = weights.read(name)
            own = main if torch.equal(vector.to(main).to(vector.dtype), vector) else own
        plan[name] = own
    return plan


def convert_type(name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in another type.

    Raises:
        UserError: if a finite value would become infinite, as beyond 65,504 in float16.
    """
    converted = values.to(dtype)
    if bool((converted.isinf() & ~values.isinf()).any()):
        raise UserError(
            f"{name} has the value {values.abs().max().item():.4g}, too large for "
            f"{str(dtype).removeprefix('torch.')}; choose --type bf16"
        )
    return converted


def write_shards(
    directory: Path,
    weights: Regrouped,
    plan: Mapping[str, torch.dtype],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write model.safetensors, or numbered shards with their index where it would be larger.

    Raises:
        UserError: if a value does not fit its type.
    """
    shards: list[list[str]] = [[]]
    filled = total = 0
    for name, dtype in plan.items():
        size = _num_bytes(weights.shape(name), dtype)
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled, total = filled + size, total + size
    if len(shards) == 1:
        _write_file(directory / WEIGHTS_NAME, weights, plan, shards[0])
        return
    table: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = shard_name(number, len(shards))
        _write_file(directory / file, weights, plan, names)
        table |= dict.fromkeys(names, file)
    write_json(directory / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": table})


def shard_name(number: int, count: int) -> str:
    """Return the name of one of `count` files, numbered from 1, as the common libraries have it."""
    return f"model-{number:05}-of-{count:05}.safetensors"


def file_header(shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, torch.dtype]) -> bytes:
    """Return what opens a safetensors file: the header's length and the header.

    Args:
        shapes: of the tensors, in the order their data follows.
        types: of the same tensors.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, shape in shapes.items():
        end = place + _num_bytes(shape, types[name])
        header[name] = {
            "dtype": NAMES[types[name]],
            "shape": list(shape),
            "data_offsets": [place, end],
        }
        place = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def _write_file(
    path: Path, weights: Regrouped, plan: Mapping[str, torch.dtype], names: Sequence[str]
) -> None:
    """Write one file: header's length, header, data; wider types first, so that all are aligned."""
    ordered = sorted(names, key=lambda name: -plan[name].itemsize)
    head = file_header({name: weights.shape(name) for name in ordered}, plan)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            file.write(head)
            for name in ordered:
                for start, stop in chunks(weights.shape(name)):
                    rows = convert_type(name, weights.read(name, start, stop), plan[name])
                    file.write(rows.contiguous().view(-1).view(torch.uint8).numpy().data)
        with safe_open(temporary, "pt") as written:  # the library's own reading of the header
            assert set(written.keys()) == set(names), "the written file lists other tensors"


def _num_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize
