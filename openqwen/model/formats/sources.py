"""The weights of a directory: safetensors where there are any, else pickled `.bin` files.

source = open_tensors(directory)
source.read("model.norm.weight")
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.model.formats.pickled import PICKLED, PickledFiles
from openqwen.model.formats.tensor_files import Naming, TensorFiles
from openqwen.model.formats.weights import INDEX_NAME, WEIGHTS_NAME

SAFETENSORS = Naming(WEIGHTS_NAME, INDEX_NAME, "*.safetensors")
MAX_HEADER_BYTES = 1 << 25  # thirty times that of the largest published models


def open_tensors(directory: Path) -> TensorFiles:
    """Open a directory's weights.

    Raises:
        UserError: if there are none, or one of the files is missing or broken.
    """
    if SAFETENSORS.is_in(directory):
        return SafetensorsFiles(directory, SAFETENSORS)
    if PICKLED.is_in(directory):
        return PickledFiles(directory, PICKLED)
    raise UserError(f"{directory} has no weights: this stage has not finished")


class SafetensorsFiles(TensorFiles):
    """The safetensors files of a directory, memory-mapped."""

    def __init__(self, directory: Path, naming: Naming) -> None:
        """Open them; the errors are those of `TensorFiles`."""
        self._opened: dict[Path, Any] = {}
        super().__init__(directory, naming)

    def _open(self, path: Path) -> Iterable[str]:
        with _as_user_error(path):
            _check_header(path)
            self._opened[path] = safe_open(path, "pt")
            names: list[str] = list(self._opened[path].keys())
        return names

    def stored(self, name: str) -> Tensor:
        """Return a tensor as it lies in its file."""
        path = self._files[name]
        with _as_user_error(path):
            tensor: Tensor = self._opened[path].get_tensor(name)
        return tensor


def _check_header(path: Path) -> None:
    """Refuse what the library lets through or takes long over: huge headers, a name twice.

    That tensors lie inside the file, end to end and without a gap, it checks itself.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER_BYTES, path.stat().st_size):
            raise ValueError(f"its header claims {length:,} bytes")
        header = file.read(length)
    json.loads(header, object_pairs_hook=_refuse_doubles)


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return table


@contextmanager
def _as_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} can't be read as safetensors: {reason}") from None
