"""GPTQ directories in AutoGPTQ's layout, int4 and int8: unpacked to weights a few rows at a time.

    checkpoint = with_gptq(read_qwen1(directory, data), settings)

A matrix `name.weight` (O rows of I columns) is stored as

    qweight  int32 (I/p, O)    p = 32/bits codes of one row, lowest bits first
    qzeros   int32 (G, O/p)    zero points of each group of columns, minus 1
    scales   float16 (G, O)
    g_idx    int32 (I,)        the group of each column

and means scale × (code - zero). That stored zeros are one less is a habit of the format ("gptq";
"gptq_v2" dropped it).
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.model.formats.checkpoint import CONFIG_NAME, Checkpoint, read_block, read_object
from openqwen.model.formats.parts import Part
from openqwen.model.formats.sources import open_tensors
from openqwen.model.formats.tensor_files import TensorFiles

SETTINGS_NAME = "quantize_config.json"
BITS = (4, 8)
FORMATS = {"gptq": 1, "gptq_v2": 0}  # what a stored zero point lacks
PACKED = ("qweight", "qzeros", "scales", "g_idx")


@dataclass(frozen=True)
class GPTQ:
    """How a directory's matrices are packed; a group size of -1 is one group for all columns."""

    bits: int
    group_size: int
    missing_from_zeros: int


def read_gptq(directory: Path, data: dict[str, Any]) -> GPTQ | None:
    """Return the settings of a quantised directory; None where its weights are plain.

    Args:
        directory: the model's.
        data: its parsed config.json, whose `quantization_config` comes before the older
            quantize_config.json.

    Raises:
        UserError: if it is quantised in another way.
    """
    where = directory / CONFIG_NAME
    if "quantization_config" in data:
        block = read_block(data, "quantization_config", where)
        method = block.get("quant_method")
        if method != "gptq":
            raise UserError(f"{where}: weights quantised by {method!r} are not read; gptq are")
    elif (directory / SETTINGS_NAME).is_file():
        where = directory / SETTINGS_NAME
        block = read_object(where)
        if (method := block.get("quant_method", "gptq")) != "gptq":
            raise UserError(f"{where}: weights quantised by {method!r} are not read; gptq are")
    else:
        return None
    bits, size = block.get("bits"), block.get("group_size", -1)
    if bits not in BITS:
        raise UserError(f"{where}: weights of {bits!r} bits are not read; 4 and 8 are")
    if type(size) is not int or (size < 1 and size != -1):
        raise UserError(f"{where}: group_size = {size!r} is neither a number of columns nor -1")
    kind = block.get("checkpoint_format", "gptq")
    if kind not in FORMATS:
        raise UserError(f"{where}: checkpoint_format {kind!r} is not read; gptq and gptq_v2 are")
    return GPTQ(int(bits), size, FORMATS[kind])


def with_gptq(checkpoint: Checkpoint, settings: GPTQ) -> Checkpoint:
    """Return the checkpoint with its weights opened as packed ones."""
    opener = partial(_open_packed, checkpoint.directory, settings, checkpoint.parts)
    return replace(checkpoint, opener=opener)


def _open_packed(directory: Path, settings: GPTQ, parts: dict[str, Part]) -> "GPTQSource":
    return GPTQSource(open_tensors(directory), settings, parts)


class GPTQSource:
    """The tensors of a GPTQ directory under their plain names, packed matrices as float32."""

    def __init__(self, files: TensorFiles, settings: GPTQ, parts: dict[str, Part]) -> None:
        """Hold the packed tensors' shapes, types and groups against each other.

        Args:
            files: the directory's tensors.
            settings: how they are packed.
            parts: the layout's names. Quantisers give every packed matrix a bias; one that the
                layout doesn't know is left out if it is zero.

        Raises:
            UserError: naming the tensor that is missing or does not fit.
        """
        self.where: Path = files.where
        self._files, self._settings = files, settings
        stored = set(files.names())
        self._packed = {n.removesuffix(".qweight") for n in stored if n.endswith(".qweight")}
        if not self._packed:
            raise UserError(f"{self.where}: its settings say GPTQ, but no tensor is packed")
        hidden = {f"{module}.{kind}" for module in self._packed for kind in PACKED}
        for module in self._packed:
            bias = f"{module}.bias"
            if bias in stored and bias not in parts and not files.stored(bias).any():
                hidden.add(bias)
        self._names = [name for name in files.names() if name not in hidden]
        self._names += sorted(f"{module}.weight" for module in self._packed)
        if len(set(self._names)) < len(self._names):
            raise UserError(f"{self.where}: a matrix is there both packed and plain")
        self._shapes: dict[str, tuple[int, int]] = {}
        self._groups: dict[str, Tensor] = {}
        for module in self._packed:
            self._check(module, stored)

    def names(self) -> list[str]:
        """Return every tensor's plain name."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, unpacked."""
        module = name.removesuffix(".weight")
        return self._shapes[module] if module in self._packed else self._files.shape(name)

    def dtype(self, name: str) -> torch.dtype | None:
        """Return a tensor's type; None where it is packed."""
        return None if name.removesuffix(".weight") in self._packed else self._files.dtype(name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows of a tensor, unpacked."""
        module = name.removesuffix(".weight")
        if module not in self._packed:
            return self._files.read(name, start, stop)
        stop = self._shapes[module][0] if stop is None else stop
        bits, group_I = self._settings.bits, self._groups[module]
        words_ON = self._files.stored(f"{module}.qweight")[:, start:stop].t().contiguous()
        codes_OI = _unpack(words_ON, bits)
        per_word = 32 // bits
        first, last = start // per_word, -(-stop // per_word)
        zeros_GO = _unpack(self._files.stored(f"{module}.qzeros")[:, first:last].contiguous(), bits)
        zeros_GO = zeros_GO[:, start - first * per_word : stop - first * per_word]
        # a stored 2^bits - 1 is -1: the zero point 0
        zeros_GO = zeros_GO.int().add_(self._settings.missing_from_zeros) & (1 << bits) - 1
        scales_GO = self._files.stored(f"{module}.scales")[:, start:stop].float()
        weights_OI = codes_OI.float()
        weights_OI -= zeros_GO.t().float().index_select(1, group_I)
        weights_OI *= scales_GO.t().contiguous().index_select(1, group_I)
        return weights_OI

    def _check(self, module: str, stored: set[str]) -> None:
        """Note a packed matrix's shape and groups; whatever does not fit is refused."""
        for kind in PACKED[1:3]:
            if f"{module}.{kind}" not in stored:
                raise UserError(f"{self.where}: tensor {module}.{kind} is missing")
        words, zeros, scales = (self._files.stored(f"{module}.{kind}") for kind in PACKED[:3])
        per_word = 32 // self._settings.bits
        if words.ndim != 2 or not words.numel() or {words.dtype, zeros.dtype} != {torch.int32}:
            raise UserError(f"{self.where}: {module}.qweight and qzeros are no int32 matrices")
        columns, rows = words.shape[0] * per_word, words.shape[1]
        size = columns if self._settings.group_size == -1 else self._settings.group_size
        groups = -(-columns // size)
        if scales.shape != (groups, rows) or zeros.shape != (groups, -(-rows // per_word)):
            raise UserError(
                f"{self.where}: {module} has {rows:,} × {columns:,} weights in groups of {size:,}, "
                f"but scales of shape {tuple(scales.shape)} and qzeros of {tuple(zeros.shape)}"
            )
        self._shapes[module] = (rows, columns)
        if f"{module}.g_idx" in stored:
            group_I = self._files.stored(f"{module}.g_idx").int()
        else:
            group_I = torch.arange(columns, dtype=torch.int32) // size
        if group_I.shape != (columns,) or group_I.min() < 0 or group_I.max() >= groups:
            raise UserError(f"{self.where}: {module}.g_idx is not a group below {groups} a column")
        self._groups[module] = group_I


def _unpack(words_ON: Tensor, bits: int) -> Tensor:
    """Return the codes of each row's words in order, as bytes: (O, N × 32/bits)."""
    packed = words_ON.view(torch.uint8)  # little-endian: lowest codes first
    if bits == 8:
        return packed
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)
