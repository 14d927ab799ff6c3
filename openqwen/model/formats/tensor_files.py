"""Files that hold a directory's tensors: which they are, and the tensors in them, mapped.

Two kinds have the same habits, a single file or shards with an index: safetensors (`sources.py`)
and pickled `.bin` (`pickled.py`).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.core.gguf import LFS_POINTER

# buffers that old checkpoints stored; all of them are computed
IGNORED = re.compile(r"\.(rotary_emb\.inv_freq|masked_bias|attn\.bias|logn_tensor)$")
FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Naming:
    """How a kind of weights names its files."""

    single: str
    index: str
    pattern: str

    def is_in(self, directory: Path) -> bool:
        """Return whether a directory has, or should have, files of this kind."""
        return (directory / self.index).exists() or any(directory.glob(self.pattern))

    def find(self, directory: Path) -> list[Path]:
        """Return the files: the index's, else the single one, else all.

        Raises:
            UserError: if the index names a file that is not there or lies elsewhere, or one is a
                Git LFS pointer.
        """
        if (directory / self.index).is_file():
            files = self._read_index(directory)
        elif (directory / self.single).is_file():
            files = [directory / self.single]  # others beside it hold something else
        else:
            files = sorted(directory.glob(self.pattern))
        for path in files:
            if not path.is_file():
                raise UserError(f"{path} is missing, though {self.index} names it")
            with path.open("rb") as file:
                if file.read(len(LFS_POINTER)) == LFS_POINTER:
                    raise UserError(
                        f"{path} is a Git LFS pointer, not the weights; run git lfs pull"
                    )
        return files

    def _read_index(self, directory: Path) -> list[Path]:
        index = directory / self.index
        data = read_json(index)
        table = data.get("weight_map") if isinstance(data, dict) else None
        if not isinstance(table, dict) or not table:
            raise UserError(f"{index} has no weight_map")
        names = sorted(set(map(str, table.values())))
        for name in names:
            if name in ("", ".", "..") or "\0" in name or Path(name).name != name:
                raise UserError(f"{index} names {name!r}, a file outside its directory")
        return [directory / name for name in names]


class TensorFiles(ABC):
    """The tensors of a directory's files; a `TensorSource` once their types are floating."""

    def __init__(self, directory: Path, naming: Naming) -> None:
        """Open the files and hold their names against each other.

        Raises:
            UserError: if one is missing or broken, or a tensor stands in two of them.
        """
        self.where = directory
        self._files: dict[str, Path] = {}
        for path in naming.find(directory):
            for name in self._open(path):
                if IGNORED.search(name):
                    continue
                if name in self._files:
                    raise UserError(f"{path}: tensor {name} is in {self._files[name].name} too")
                self._files[name] = path

    @abstractmethod
    def _open(self, path: Path) -> Iterable[str]:
        """Open one file and return the names in it."""

    @abstractmethod
    def stored(self, name: str) -> Tensor:
        """Return a tensor of any type as it lies in its mapped file; not to be changed."""

    def names(self) -> list[str]:
        """Return every tensor's name."""
        return list(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; one that is not of a floating type is refused."""
        tensor = self.stored(name)
        if tensor.dtype not in FLOATING:
            names = ", ".join(_short(dtype) for dtype in FLOATING)
            raise UserError(
                f"{self._files[name]}: {name} has type {_short(tensor.dtype)}, need one of {names}"
            )
        return tuple(tensor.shape)

    def dtype(self, name: str) -> torch.dtype | None:
        """Return a tensor's type; `shape` refuses those that are not floating."""
        return self.stored(name).dtype

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows of a tensor."""
        return self.stored(name)[start:stop]


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
