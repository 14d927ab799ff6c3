"""Models in GGUF files: shape from the metadata, tensors dequantised a few rows at a time.

    checkpoint = read_gguf(Path("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"))

Architectures qwen2, llama and qwen (Qwen-1), as llama.cpp's converter writes them. What a file asks
for beyond plain models of these kinds is refused, never ignored.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.core.gguf import GGUFFile, TensorInfo, TokenType, open_gguf
from openqwen.model.config import ModelConfig
from openqwen.model.formats.checkpoint import Checkpoint
from openqwen.model.formats.gguf_blocks import PLAIN, dequantise
from openqwen.model.formats.parts import gguf_parts

ARCHITECTURES = ("qwen2", "llama", "qwen")
EMBEDDING, HEAD, FREQUENCIES = "token_embd.weight", "output.weight", "rope_freqs.weight"
END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
# control tokens that end a reply in every model that has them
END_NAMES = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>")
# keys behind the architecture's name that `_read_shape` reads
SHAPE_KEYS = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
)
# keys that change nothing at these values; any other value, and any other key, is refused
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "use_parallel_residual": (True, False),  # no such branch in these architectures
    "tensor_data_layout": ("Meta AI original pth",),  # the rotary order all llama files have
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "attention.sliding_window": (0,),
    "rope.scaling.type": ("none",),
    "rope.scaling.factor": (0.0, 1.0),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (True, False),
    "rope.scale_linear": (0.0, 1.0),
}


def read_gguf(path: Path) -> Checkpoint:
    """Read a GGUF file but for its weights.

    Raises:
        UserError: one line, if the file is damaged, of another architecture, or asks for what is
            not implemented.
    """
    file = open_gguf(path)
    kind = file.scalar("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"{path}: architecture {kind!r} is not read; {', '.join(ARCHITECTURES)} are"
        )
    if file.scalar("split.count", 1) not in (0, 1):
        raise UserError(
            f"{path} is one of {file.values['split.count']} parts; join them (llama-gguf-split)"
        )
    _refuse_unsupported(file, kind)
    config = parse_config(ModelConfig, _read_shape(file, kind), where=str(path))
    template = file.values.get("tokenizer.chat_template")
    return Checkpoint(
        directory=path,
        config=config,
        parts=gguf_parts(config, packed=kind == "qwen"),
        context=config.train_length,
        stop_ids=_read_stop_ids(file, config.vocab_size),
        chat_template=template if isinstance(template, str) else None,
        opener=partial(GGUFSource, file, config.head_dim if kind == "llama" else None),
    )


class GGUFSource:
    """The tensors of a GGUF file, memory-mapped, under the file's own names."""

    def __init__(self, file: GGUFFile, permuted_head_dim: int | None = None) -> None:
        """Take an open file.

        Args:
            file: the container.
            permuted_head_dim: size of a head where the rows of q and k pair neighbours for the
                rotation, as llama files do; they are put back into halves.
        """
        self.where = file.path
        self._file = file
        self._permuted_head_dim = permuted_head_dim

    def names(self) -> list[str]:
        """Return every tensor's name; frequencies of plain rotation are left out."""
        return [name for name in self._file.tensors if name != FREQUENCIES]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self._file.tensors[name].shape

    def dtype(self, name: str) -> torch.dtype | None:
        """Return a tensor's type; None where it is quantised."""
        return PLAIN.get(self._file.tensors[name].type)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Return rows of a tensor, as float32 where they are quantised."""
        info = self._file.tensors[name]
        stop = info.shape[0] if stop is None else stop
        size = self._permuted_head_dim
        if size is None or not name.endswith(PERMUTED):
            return self._rows(info, start, stop)
        # whole heads: row 2 j + c of one is row c E/2 + j of ours
        first, last = start // size * size, min(-(-stop // size) * size, info.shape[0])
        heads: torch.Tensor = self._rows(info, first, last).unflatten(0, (-1, size // 2, 2))
        return heads.transpose(1, 2).flatten(0, 2)[start - first : stop - first]

    def _rows(self, info: TensorInfo, start: int, stop: int) -> torch.Tensor:
        data = torch.frombuffer(self._file.data(info.name), dtype=torch.uint8)
        if len(info.shape) == 1:  # a block may hold several of its "rows"
            return dequantise(data, info.type)[start:stop]
        rows = data.view(info.shape[0], -1)[start:stop].reshape(-1)
        return dequantise(rows, info.type).view(stop - start, *info.shape[1:])


PERMUTED = ("attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias")


def _refuse_unsupported(file: GGUFFile, kind: str) -> None:
    for key, value in file.values.items():
        short = key.removeprefix(f"{kind}.")
        if short == key or short in SHAPE_KEYS:
            continue
        if not isinstance(value, list | np.ndarray) and value in NEUTRAL.get(short, ()):
            continue
        if short == "rope.scaling.original_context_length":
            continue  # says nothing without a scaling type
        raise UserError(f"{file.path}: {key} = {_shown(value)} is not implemented")
    if FREQUENCIES in file.tensors and (GGUFSource(file).read(FREQUENCIES) != 1).any():
        raise UserError(f"{file.path}: {FREQUENCIES} scales the rotation, which is not implemented")


def _read_shape(file: GGUFFile, kind: str) -> dict[str, Any]:
    """Return the settings of `ModelConfig`."""
    for name in (EMBEDDING, "blk.0.ffn_gate.weight"):
        if name not in file.tensors:
            raise UserError(f"{file.path}: tensor {name} is missing")
    rows = file.tensors[EMBEDDING].shape[0]
    heads = _whole(file, f"{kind}.attention.head_count")
    hidden = _whole(file, f"{kind}.embedding_length")
    layers = _whole(file, f"{kind}.block_count")
    if not 1 <= layers <= len(file.tensors):
        raise UserError(f"{file.path}: {kind}.block_count = {layers:,} has no tensors")
    head_dim = _whole(file, f"{kind}.attention.key_length", hidden // max(heads, 1))
    for key in ("attention.value_length", "rope.dimension_count"):
        if _whole(file, f"{kind}.{key}", head_dim) != head_dim:
            raise UserError(
                f"{file.path}: {kind}.{key} = {file.values[f'{kind}.{key}']} differs from the "
                f"head size {head_dim}, which is not implemented"
            )
    width = file.tensors["blk.0.ffn_gate.weight"].shape[0]
    stated = _whole(file, f"{kind}.feed_forward_length")
    # Qwen-1's own setting is twice the width, and some files carry it over
    if stated not in (width, 2 * width if kind == "qwen" else width):
        raise UserError(
            f"{file.path}: {kind}.feed_forward_length = {stated:,}, but its tensors have {width:,}"
        )
    return {
        "vocab_size": rows,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": _whole(file, f"{kind}.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "intermediate_size": width,
        "rope_theta": _number(file, f"{kind}.rope.freq_base", 10_000.0),
        "rms_norm_eps": _number(file, f"{kind}.attention.layer_norm_rms_epsilon"),
        "qkv_bias": kind == "qwen" or "blk.0.attn_q.bias" in file.tensors,
        "tie_word_embeddings": HEAD not in file.tensors,
        "train_length": _whole(file, f"{kind}.context_length"),
    }


def _read_stop_ids(file: GGUFFile, num_rows: int) -> tuple[int, ...]:
    """Return the ids that end a reply: those the file names, and control tokens known to."""
    found = {file.scalar(f"tokenizer.ggml.{key}") for key in END_KEYS}
    tokens = file.values.get("tokenizer.ggml.tokens")
    kinds = file.values.get("tokenizer.ggml.token_type")
    if isinstance(tokens, list) and isinstance(kinds, np.ndarray) and len(tokens) == len(kinds):
        marked = np.flatnonzero(kinds == TokenType.CONTROL).tolist()
        found |= {i for i in marked if tokens[i] in END_NAMES}
    return tuple(sorted(i for i in found if type(i) is int and 0 <= i < num_rows))


def _whole(file: GGUFFile, key: str, default: int | None = None) -> int:
    value = file.values.get(key, default)
    if type(value) is not int:
        raise UserError(f"{file.path}: {key} must be a whole number, got {_shown(value)}")
    return value


def _number(file: GGUFFile, key: str, default: float | None = None) -> float:
    """Return a float32 of the file as the shortest decimal that means it: 1e-06."""
    value = file.values.get(key, default)
    if type(value) not in (int, float):
        raise UserError(f"{file.path}: {key} must be a number, got {_shown(value)}")
    return float(str(np.float32(value)))


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:60]
