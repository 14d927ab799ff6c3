"""Checkpoints in PyTorch's own `.bin` files, read without running anything in them.

Such a file is a pickle, which may name any function to call. Torch's `weights_only` reader knows
tensors and little else and refuses the rest; `mmap` leaves the tensors in the file.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.model.formats.tensor_files import Naming, TensorFiles

PICKLED = Naming("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model*.bin")


class PickledFiles(TensorFiles):
    """The `.bin` files of a directory, memory-mapped."""

    def __init__(self, directory: Path, naming: Naming) -> None:
        """Open them; the errors are those of `TensorFiles`, and one for code in a file."""
        self._tensors: dict[str, Tensor] = {}
        super().__init__(directory, naming)

    def _open(self, path: Path) -> Iterable[str]:
        _check_archive(path)
        try:
            found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # whatever a foreign file makes the reader raise
            reason = " ".join(str(error).split())
            kind = type(error).__name__
            if "Weights only load failed" in reason or kind == "UnpicklingError":
                raise UserError(
                    f"{path} holds more than tensors, perhaps code to run, and is not read; "
                    "get the model as safetensors"
                ) from None
            raise UserError(f"{path} can't be read as PyTorch weights: {reason[:200]}") from None
        if not isinstance(found, dict):
            raise UserError(f"{path} holds a {type(found).__name__}, not a table of tensors")
        for name, tensor in found.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise UserError(f"{path}: {str(name)[:80]!r} is no tensor with a name")
            if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
                raise UserError(f"{path}: tensor {name} is not plain (sparse, quantised or empty)")
        self._tensors |= found
        return list(found)

    def stored(self, name: str) -> Tensor:
        """Return a tensor as it lies in its file."""
        return self._tensors[name].detach()


def _check_archive(path: Path) -> None:
    """Refuse packed entries: they can't be mapped, and a small one may unpack to any size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise UserError(
            f"{path} is no PyTorch archive (format of 2020 or later); get the model as safetensors"
        ) from None
    if any(e.compress_type != zipfile.ZIP_STORED or e.file_size > e.compress_size for e in entries):
        raise UserError(f"{path} holds packed entries, which no PyTorch checkpoint does")
