"""GGUF files out: typed metadata, tensor table, aligned data, written tensor by tensor.

    write_gguf(path, {"general.architecture": "qwen2", ...}, [GGUFTensor(...), ...])

Layout: the GGUF specification, version 3. A few rows are in memory at a time.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from openqwen.core.files import atomic_path
from openqwen.core.gguf import DEFAULT_ALIGNMENT, MAGIC, TensorType, ValueType

VERSION = 3
CHUNK_WEIGHTS = 1 << 22  # converted at a time, so that float32 copies stay small
PLAIN = {
    TensorType.F32: torch.float32,
    TensorType.F16: torch.float16,
    TensorType.BF16: torch.bfloat16,
}

Metadata = bool | int | float | str | Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class GGUFTensor:
    """One tensor to be written.

    Attributes:
        name: GGUF's name for it.
        shape: rows first, as torch has it; the file lists it the other way round.
        type: F32, F16, BF16 or Q8_0.
        read: gives rows `start` to `stop - 1`, any floating type; called when their turn comes.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    read: Callable[[int, int], Tensor]


def write_gguf(path: Path, metadata: Mapping[str, Metadata], tensors: Sequence[GGUFTensor]) -> None:
    """Write a GGUF file atomically.

    Args:
        path: the file; its folder is made if missing.
        metadata: key -> value. Written as: bool, int as uint32, float as float32, text, list of
            int as int32, list of text.
        tensors: in the order of the file.

    Raises:
        ValueError: if a Q8_0 tensor's rows are no multiple of 32, or a value has no type here.
        OverflowError: if a value is beyond what F16 can say.
    """
    head = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        head += _text(key) + _typed(key, value)
    offset = 0
    for tensor in tensors:
        if tensor.shape[-1] % tensor.type.block_weights:
            width, block = tensor.shape[-1], tensor.type.block_weights
            raise ValueError(f"{tensor.name}: rows of {width} weights are no blocks of {block}")
        sides = tensor.shape[::-1]
        head += _text(tensor.name) + struct.pack(f"<I{len(sides)}Q", len(sides), *sides)
        head += struct.pack("<IQ", tensor.type.code, offset)
        offset += _aligned(tensor.type.num_bytes(tensor.shape))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(head)
        _pad(file)
        for tensor in tensors:
            _write_tensor(file, tensor)
            _pad(file)


def encode(values: Tensor, kind: TensorType) -> bytes:
    """Return a tensor's data in F32, F16, BF16 or Q8_0, row after row.

    Raises:
        OverflowError: if a finite value becomes infinite in F16.
    """
    values = values.detach().cpu().contiguous()
    if kind == TensorType.Q8_0:
        return quantise_q8_0(values)
    converted = values.to(PLAIN[kind])
    if kind == TensorType.F16 and bool((converted.isinf() & ~values.isinf()).any()):
        raise OverflowError(f"{values.abs().max().item():.4g}")
    return converted.view(torch.uint8).numpy().tobytes()


def quantise_q8_0(values: Tensor) -> bytes:
    """Return Q8_0 blocks: a float16 scale and 32 int8, the largest of which is 127.

    Rounds halves away from zero by the scale before it is cut to float16, as llama.cpp does; equal
    to it bit for bit.
    """
    size = TensorType.Q8_0.block_weights
    blocks = values.to(torch.float32).reshape(-1, size)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    exact = blocks * inverse
    # halves away from zero; adding 0.5 first would round 0.49999997 up
    whole = exact.abs().floor()
    rounded = exact.sign() * (whole + (2 * (exact.abs() - whole)).floor())
    out = np.empty((len(blocks), 2 + size), dtype=np.uint8)
    out[:, :2] = scale.to(torch.float16).view(torch.uint8).numpy()
    out[:, 2:] = rounded.to(torch.int8).view(torch.uint8).numpy()
    return out.tobytes()


def _write_tensor(file: IO[bytes], tensor: GGUFTensor) -> None:
    for start, stop in chunks(tensor.shape):
        rows = tensor.read(start, stop)
        assert rows.shape == (stop - start, *tensor.shape[1:]), f"{tensor.name} has another shape"
        file.write(encode(rows, tensor.type))


def chunks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield first row and end of each piece of a tensor that is handled at a time."""
    step = max(1, CHUNK_WEIGHTS // math.prod(shape[1:]))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def _typed(key: str, value: Any) -> bytes:
    """Return a value with its type in front."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, int) for item in value):
            body = struct.pack(f"<{len(value)}i", *value)
            return struct.pack("<IIQ", ValueType.ARRAY, ValueType.INT32, len(value)) + body
        head = struct.pack("<IIQ", ValueType.ARRAY, ValueType.STRING, len(value))
        return head + b"".join(map(_text, value))
    if isinstance(value, bool):
        return struct.pack("<I?", ValueType.BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", ValueType.UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", ValueType.FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", ValueType.STRING) + _text(value)
    raise ValueError(f"{key}: {type(value).__name__} has no type in our GGUF files")


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def _aligned(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _pad(file: IO[bytes]) -> None:
    file.write(b"\0" * (_aligned(file.tell()) - file.tell()))
