"""The GGUF container: header, key-values, tensor table, memory map; knows nothing of models.

    file = open_gguf(Path("model.gguf"))
    file.values["general.architecture"]          # "qwen2"
    info = file.tensors["blk.0.attn_q.weight"]   # type, shape (rows first), place
    file.data("blk.0.attn_q.weight")             # its bytes, mapped

Versions 2 and 3, little-endian, as ggml documents them (docs/gguf.md there). Shapes have rows
first, the reverse of the file's order. Everything is checked against the file's length before it is
read.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from openqwen.core.errors import UserError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_KEY, DEFAULT_ALIGNMENT = "general.alignment", 32
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 65_535
MAX_STRINGS = 1 << 24  # in one array; the largest vocabularies have a sixtieth of that
LFS_POINTER = b"version https://git-lfs"


class ValueType(IntEnum):
    """Types of key-values, by their number in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


# the number types as numpy names them, little-endian
NUMBERS = {
    ValueType.UINT8: "u1",
    ValueType.INT8: "i1",
    ValueType.UINT16: "<u2",
    ValueType.INT16: "<i2",
    ValueType.UINT32: "<u4",
    ValueType.INT32: "<i4",
    ValueType.FLOAT32: "<f4",
    ValueType.BOOL: "?",
    ValueType.UINT64: "<u8",
    ValueType.INT64: "<i8",
    ValueType.FLOAT64: "<f8",
}


class TokenType(IntEnum):
    """Kinds of tokens in `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class TensorType(Enum):
    """Types of tensors: number in the file, weights a block, bytes a block."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q4_1 = (3, 32, 20)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    BF16 = (30, 1, 2)

    @property
    def code(self) -> int:
        """Return the number that stands for the type in a file."""
        return self.value[0]

    @property
    def block_weights(self) -> int:
        """Return how many weights of a row share a block."""
        return self.value[1]

    @property
    def block_bytes(self) -> int:
        """Return the bytes of a block."""
        return self.value[2]

    def num_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of a tensor whose rows are whole blocks."""
        return math.prod(shape) // self.block_weights * self.block_bytes


# types of ggml that are not read, so that the refusal can name them
OTHER_TYPES = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor's entry: shape with rows first, offset from the start of the file, in bytes."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        """Return the length of its data."""
        return self.type.num_bytes(self.shape)


class GGUFFile:
    """An open file.

    Attributes:
        path: where it lies.
        version: 2 or 3.
        values: key -> bool, int, float, str, list of str, or numpy array of numbers.
        tensors: name -> entry, in the file's order.
    """

    def __init__(
        self,
        path: Path,
        mapped: mmap.mmap,
        version: int,
        values: dict[str, Any],
        tensors: dict[str, TensorInfo],
    ) -> None:
        """Join what `open_gguf` has read."""
        self.path, self.version, self.values, self.tensors = path, version, values, tensors
        self._mapped = mapped

    def scalar(self, key: str, default: Any = None) -> Any:
        """Return a value that is no list; UserError where the file has a list."""
        value = self.values.get(key, default)
        if isinstance(value, list | np.ndarray):
            raise UserError(f"{self.path}: {key} must be one value, not a list")
        return value

    def data(self, name: str) -> memoryview:
        """Return a tensor's bytes in the map; writing to them never reaches the file."""
        info = self.tensors[name]
        return memoryview(self._mapped)[info.offset : info.offset + info.num_bytes]

    def release(self) -> None:
        """Let go of pages read so far; they are read again when needed."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


def open_gguf(path: Path) -> GGUFFile:
    """Map a file and read all but the tensors' data.

    Raises:
        UserError: one line, if it is no GGUF file, of another version, or anything in it doesn't
            fit its length.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
            if start == LFS_POINTER:
                raise UserError(f"{path} is a Git LFS pointer, not the weights; run git lfs pull")
            if not start.startswith(MAGIC):
                raise UserError(f"{path} is no GGUF file: it starts with {start[:4]!r}")
            # a private, writable map: torch takes it as it is, and nothing is ever written
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise UserError(f"{path} can't be opened: {error.strerror or error}") from None
    cursor = _Cursor(mapped, path)
    version, num_tensors, num_values = _read_header(cursor)
    values: dict[str, Any] = {}
    for _ in range(num_values):
        key = cursor.name("a key's name")
        if key in values:
            raise UserError(f"{path}: key {key!r} is there twice")
        values[key] = _read_value(cursor, key)
    alignment = values.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 8 or alignment & (alignment - 1):
        raise UserError(f"{path}: {ALIGNMENT_KEY} = {alignment!r} is not a power of two from 8 on")
    entries = [_read_entry(cursor) for _ in range(num_tensors)]
    start_of_data = -(-cursor.place // alignment) * alignment
    tensors = _place_tensors(entries, start_of_data, alignment, len(mapped), path)
    return GGUFFile(path, mapped, version, values, tensors)


class _Cursor:
    """A place in the map; whatever would go beyond the end is refused before it is read."""

    def __init__(self, mapped: mmap.mmap, path: Path) -> None:
        self.mapped, self.path, self.place = mapped, path, len(MAGIC)

    def take(self, num_bytes: int, what: str) -> int:
        """Move on by `num_bytes`; return the place before."""
        before = self.place
        if num_bytes > len(self.mapped) - before:
            raise UserError(
                f"{self.path} is damaged: {what} at byte {before:,} would take {num_bytes:,} "
                f"bytes, the file has {len(self.mapped):,}"
            )
        self.place = before + num_bytes
        return before

    def number(self, form: str, what: str) -> Any:
        """Return one number in `struct`'s form."""
        place = self.take(struct.calcsize(form), what)
        return struct.unpack_from(form, self.mapped, place)[0]

    def count(self, form: str, item_bytes: int, what: str) -> int:
        """Return a count of items of at least `item_bytes` each, all of which must still fit."""
        count: int = self.number(form, what)
        if count * item_bytes > len(self.mapped) - self.place:
            raise UserError(
                f"{self.path} is damaged: it claims {count:,} {what}, more than fit into its "
                f"{len(self.mapped):,} bytes"
            )
        return count

    def name(self, what: str) -> str:
        """Return the name of a key or tensor, fit to stand in a message."""
        before = self.place
        name = self.text(what)
        if len(name) > MAX_NAME_BYTES or not name.isprintable():
            raise UserError(f"{self.path} is damaged: {what} at byte {before:,} is {name[:40]!r}")
        return name

    def text(self, what: str) -> str:
        """Return a string; bytes that are not UTF-8 stand as lone surrogates."""
        length = self.number("<Q", what)
        place = self.take(length, what)
        return self.mapped[place : place + length].decode("utf-8", "surrogateescape")


def _read_header(cursor: _Cursor) -> tuple[int, int, int]:
    """Return version, number of tensors and number of key-values."""
    version = cursor.number("<I", "the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        kind = "big-endian" if swapped in VERSIONS else f"version {version}"
        raise UserError(f"{cursor.path}: GGUF files of {kind} are not read; versions 2 and 3 are")
    # the least an entry can take: name's length, dimensions, one size, type, offset; key: length,
    # type, value
    num_tensors = cursor.count("<Q", 0, "tensors")
    num_values = cursor.count("<Q", 13, "key-values")
    if num_tensors * 32 > len(cursor.mapped):
        raise UserError(f"{cursor.path} is damaged: it claims {num_tensors:,} tensors")
    return version, num_tensors, num_values


def _read_value(cursor: _Cursor, key: str) -> Any:
    kind = _value_type(cursor, key)
    if kind == ValueType.STRING:
        return cursor.text(key)
    if kind == ValueType.ARRAY:
        return _read_array(cursor, key)
    return _read_numbers(cursor, kind, 1, key)[0].item()


def _read_array(cursor: _Cursor, key: str) -> Any:
    kind = _value_type(cursor, key)
    if kind == ValueType.ARRAY:
        raise UserError(f"{cursor.path}: {key} is an array of arrays, which is not read")
    if kind != ValueType.STRING:
        count = cursor.count("<Q", np.dtype(NUMBERS[kind]).itemsize, f"items of {key}")
        return _read_numbers(cursor, kind, count, key)
    count = cursor.count("<Q", 8, f"items of {key}")
    if count > MAX_STRINGS:
        raise UserError(f"{cursor.path}: {key} claims {count:,} strings, at most {MAX_STRINGS:,}")
    mapped, place, end = cursor.mapped, cursor.place, len(cursor.mapped)
    read_length = struct.Struct("<Q").unpack_from
    strings = []
    for _ in range(count):  # the vocabulary's 300,000 strings: one loop, no calls of ours
        if place + 8 > end or place + 8 + (length := read_length(mapped, place)[0]) > end:
            raise UserError(f"{cursor.path} is damaged: {key} goes beyond its end")
        place += 8
        strings.append(mapped[place : place + length].decode("utf-8", "surrogateescape"))
        place += length
    cursor.place = place
    return strings


def _value_type(cursor: _Cursor, key: str) -> ValueType:
    code = cursor.number("<I", f"the type of {key}")
    try:
        return ValueType(code)
    except ValueError:
        raise UserError(f"{cursor.path}: {key} has the unknown type {code}") from None


def _read_numbers(cursor: _Cursor, kind: ValueType, count: int, key: str) -> Any:
    dtype = np.dtype(NUMBERS[kind])
    place = cursor.take(count * dtype.itemsize, key)
    return np.frombuffer(cursor.mapped[place : cursor.place], dtype, count)


def _read_entry(cursor: _Cursor) -> tuple[str, TensorType, tuple[int, ...], int]:
    """Return name, type, shape and offset within the data of a tensor."""
    name = cursor.name("a tensor's name")
    num_dimensions = cursor.number("<I", f"the dimensions of {name}")
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        raise UserError(
            f"{cursor.path}: tensor {name} has {num_dimensions:,} dimensions, 1 to "
            f"{MAX_DIMENSIONS} are possible"
        )
    sizes = [cursor.number("<Q", f"the shape of {name}") for _ in range(num_dimensions)]
    code = cursor.number("<I", f"the type of {name}")
    kind = next((t for t in TensorType if t.code == code), None)
    if kind is None:
        named = OTHER_TYPES.get(code, f"number {code}")
        read = ", ".join(t.name for t in TensorType)
        raise UserError(f"{cursor.path}: tensor {name} has type {named}, which is not read; {read}")
    offset = cursor.number("<Q", f"the offset of {name}")
    if min(sizes) < 1 or sizes[0] % kind.block_weights:
        raise UserError(
            f"{cursor.path}: tensor {name} has shape {sizes}, whose rows are no whole blocks of "
            f"{kind.block_weights} weights ({kind.name})"
        )
    return name, kind, tuple(reversed(sizes)), offset


def _place_tensors(
    entries: list[tuple[str, TensorType, tuple[int, ...], int]],
    start: int,
    alignment: int,
    file_bytes: int,
    path: Path,
) -> dict[str, TensorInfo]:
    """Return the table; each tensor lies inside the file, aligned, and shares no byte."""
    tensors: dict[str, TensorInfo] = {}
    for name, kind, shape, offset in entries:
        info = TensorInfo(name, kind, shape, start + offset)
        if name in tensors:
            raise UserError(f"{path}: tensor {name} is there twice")
        if offset % alignment:
            raise UserError(f"{path}: tensor {name} starts at {offset:,}, no multiple of alignment")
        if info.offset + info.num_bytes > file_bytes:
            raise UserError(
                f"{path} is cut off or damaged: tensor {name} needs bytes up to "
                f"{info.offset + info.num_bytes:,}, the file has {file_bytes:,}"
            )
        tensors[name] = info
    end, before = 0, ""
    for info in sorted(tensors.values(), key=lambda t: t.offset):
        if info.offset < end:
            raise UserError(f"{path}: tensors {before} and {info.name} overlap")
        end, before = info.offset + info.num_bytes, info.name
    return tensors
