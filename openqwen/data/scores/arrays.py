"""Named arrays in one safetensors file, opened without reading them: workers share the pages.

write_arrays(path, {"weights": weights_F})
weights_F = open_arrays(path)["weights"]        # read-only, on disk until touched
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path

Array = NDArray[Any]

# the types we write; safetensors' names
_TYPES = {"F16": "<f2", "F32": "<f4", "U32": "<u4", "U64": "<u8", "U8": "|u1"}
MAX_HEADER_BYTES = 1 << 20


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write the arrays atomically."""
    with atomic_path(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        temporary.chmod(0o644)  # safetensors makes files that only their owner reads


def open_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file, mapped into memory and read-only.

    Raises:
        UserError: if the file is missing, cut short or holds something else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size, MAX_HEADER_BYTES):
                raise ValueError("no header")
            header = json.loads(file.read(length))
        return {
            name: _map(path, entry, 8 + length, size)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} can't be read as safetensors: {error}") from None


def _map(path: Path, entry: dict[str, Any], start: int, size: int) -> Array:
    kind = np.dtype(_TYPES[entry["dtype"]])
    shape = tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    count = int(np.prod(shape, dtype=np.int64))
    if not 0 <= begin <= end or start + end > size or end - begin != count * kind.itemsize:
        raise ValueError("an array ends outside the file")
    if not count:
        return np.zeros(shape, dtype=kind)
    mapped = np.memmap(path, dtype=kind, mode="r", offset=start + begin, shape=shape)
    return mapped.view(np.ndarray)
