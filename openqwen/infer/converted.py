"""Quantised weights kept beside the downloads, so that only a model's first load rounds them.

    model = load_quantised(checkpoint, "int4", dtype=torch.bfloat16)

A file is found again by what it was made from (names, sizes and times of the model's files), the
kind and the type. It is a cache: anything wrong with it means that it is made anew, and the oldest
go when there are more than a few.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from openqwen.core.files import atomic_path
from openqwen.core.log import say, warn
from openqwen.core.runtime import cache_directory
from openqwen.infer.kernels.ops import Packed
from openqwen.infer.quantise import SCHEME, Kind, QuantisedLinear, quantise
from openqwen.model.decoder import Decoder
from openqwen.model.formats.checkpoint import Checkpoint

MOST_FILES = 6
SOURCE_PATTERNS = ("*.json", "*.safetensors", "*.bin", "*.gguf")
PACKED_KEY = "packed"  # of the file's metadata: quantised layer -> bits, group, rows, columns


def load_quantised(checkpoint: Checkpoint, kind: Kind, *, dtype: torch.dtype) -> Decoder:
    """Return a quantised model on the CPU, from the cache where its like was loaded before.

    Raises:
        UserError: as `Checkpoint.load_model` does.
    """
    path = cache_directory() / "converted" / f"{_identity(checkpoint, kind, dtype)}.safetensors"
    if path.is_file():
        try:
            model = _read(path, checkpoint)
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
            warn(f"{path} can't be used ({error}); the weights are converted anew")
        else:
            path.touch()
            return model
    model = checkpoint.load_model(dtype=dtype)
    say(f"{'quantise':<14}to {kind} ({SCHEME[kind]}), kept for the next start")
    quantise(model, kind)
    try:
        _write(path, model)
    except (OSError, SafetensorError) as error:
        warn(f"the converted weights can't be kept, the next start converts again: {error}")
    return model


def _identity(checkpoint: Checkpoint, kind: Kind, dtype: torch.dtype) -> str:
    """Return a short hash of all that the converted numbers depend on."""
    where = checkpoint.directory.resolve()
    patterns = SOURCE_PATTERNS if where.is_dir() else ()
    files = sorted(p for pattern in patterns for p in where.glob(pattern)) or [where]
    facts = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(repr((facts, SCHEME[kind], str(dtype))).encode()).hexdigest()[:24]


def _write(path: Path, model: Decoder) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors = {name: t.clone() for name, t in tensors.items()}  # no two names for one memory
    packed = {
        name: [layer.bits, layer.group, layer.out_features, layer.in_features]
        for name, layer in model.named_modules()
        if isinstance(layer, QuantisedLinear)
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={PACKED_KEY: json.dumps(packed)})
    for old in sorted(path.parent.glob("*.safetensors"), key=lambda p: -p.stat().st_mtime)[
        MOST_FILES:
    ]:
        old.unlink(missing_ok=True)


@torch.no_grad()
def _read(path: Path, checkpoint: Checkpoint) -> Decoder:
    """Fill a model from a converted file; every tensor is used once, nothing stays unfilled.

    Copied out of the map: own memory is aligned as the kernels read it.
    """
    with safe_open(path, "pt") as file:
        packed = json.loads(file.metadata()[PACKED_KEY])
        tensors: dict[str, Tensor] = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    with torch.device("meta"):
        model = Decoder(checkpoint.config)
    for name, (bits, group, rows, columns) in packed.items():
        values, scales = tensors.pop(f"{name}.values"), tensors.pop(f"{name}.scales")
        matrix = Packed(bits, group, rows, columns, values, scales)
        _put(model, name, QuantisedLinear(matrix, tensors.pop(f"{name}.bias", None)))
    for name, tensor in tensors.items():
        _put(model, name, nn.Parameter(tensor, requires_grad=False))
    unfilled = [name for name, p in model.named_parameters() if p.is_meta]
    if unfilled:
        raise ValueError(f"{unfilled[0]} is missing")
    return model.eval()


def _put(model: nn.Module, name: str, part: nn.Module | nn.Parameter) -> None:
    """Set a module or parameter by its full name; the model must have one there."""
    parent, _, own = name.rpartition(".")
    owner = model.get_submodule(parent)
    getattr(owner, own)
    setattr(owner, own, part)
