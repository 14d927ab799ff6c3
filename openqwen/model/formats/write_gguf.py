"""A checkpoint as GGUF for llama.cpp: key-values of the shape, tensors by llama.cpp's names.

    parts = gguf_parts(config, packed=False)
    weights = Regrouped(checkpoint.open_weights(), checkpoint.parts, parts)
    tensors = gguf_tensors(weights, config, kind)
    write_gguf(path, gguf_shape(config, "my-model", kind) | vocabulary, tensors)

Names: llama.cpp's `convert_hf_to_gguf.py`. A shape with QKV bias goes out as architecture qwen2,
one without as llama, whose rows of q and k stand in another order there (pairs side by side). Norms
and biases are F32, as ggml's kernels want them.
"""

from functools import partial

from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.gguf import TensorType
from openqwen.core.gguf_writer import PLAIN, GGUFTensor, Metadata
from openqwen.model.config import ModelConfig
from openqwen.model.formats.regroup import Regrouped
from openqwen.model.formats.stream import main_type

# llama.cpp's numbers for "mostly of this type"
FILE_TYPES = {TensorType.F32: 0, TensorType.F16: 1, TensorType.Q8_0: 7, TensorType.BF16: 32}
PAIRED = ("attn_q.weight", "attn_k.weight")
FALLBACK = TensorType.F16  # where rows are no whole blocks, as llama.cpp's converter does


def gguf_shape(config: ModelConfig, name: str, kind: TensorType) -> dict[str, Metadata]:
    """Return the key-values that describe the model."""
    family = "qwen2" if config.qkv_bias else "llama"
    shape: dict[str, Metadata] = {
        "vocab_size": config.vocab_size,
        "block_count": config.num_hidden_layers,
        "context_length": config.train_length,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
    }
    general: dict[str, Metadata] = {
        "general.architecture": family,
        "general.name": name,
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": 2,
    }
    return general | {f"{family}.{key}": value for key, value in shape.items()}


def main_kind(weights: Regrouped) -> TensorType:
    """Return the type that keeps the weights as they are.

    Raises:
        UserError: if they are float64, which llama.cpp does not read.
    """
    dtype = main_type(weights)
    kind = next((k for k, d in PLAIN.items() if d == dtype), None)
    if kind is None:
        raise UserError(f"{weights.where} holds {dtype} weights, choose --type f32")
    return kind


def gguf_tensors(weights: Regrouped, config: ModelConfig, kind: TensorType) -> list[GGUFTensor]:
    """Return the tensors to write, matrices in the type asked for where their rows allow it."""
    tensors = []
    for name, part in weights.parts.items():
        its_kind = kind if part.columns is not None else TensorType.F32
        if part.columns is not None and part.columns % kind.block_weights:
            its_kind = FALLBACK
        read = partial(weights.read, name)
        if not config.qkv_bias and name.endswith(PAIRED):
            read = partial(_side_by_side, weights, name, config.head_dim)
        tensors.append(GGUFTensor(name, part.shape, its_kind, read))
    return tensors


def _side_by_side(weights: Regrouped, name: str, size: int, start: int, stop: int) -> Tensor:
    """Return q's or k's rows with each rotated pair side by side, instead of half a head apart."""
    first, end = start // size * size, -(-stop // size) * size  # whole heads
    halves = weights.read(name, first, end).unflatten(0, (-1, 2, size // 2))
    rows: Tensor = halves.transpose(1, 2).flatten(0, 2)
    return rows[start - first : stop - first]
