"""The shape of a decoder: settings for the whole family, the report's presets, exact counts.

    config = qwen_config(
        hidden_size=256, num_attention_heads=4, num_hidden_layers=6, vocab_size=8192
    )
    count_parameters(QWEN_7B)      # 7,721,324,544

Light on purpose: recipes import it, so it must not import torch.
"""

from typing import Self

from pydantic import model_validator

from openqwen.core.config import Config, setting

FFN_MULTIPLE = 128


class ModelConfig(Config):
    """Shape and constants of a decoder of the Qwen and Llama families, in the field's names."""

    vocab_size: int = setting(..., "rows of the embedding, unused ones included", ge=1)
    hidden_size: int = setting(..., "width of the residual stream", ge=1)
    num_hidden_layers: int = setting(..., "decoder layers", ge=1, le=10_000)
    num_attention_heads: int = setting(..., "query heads", ge=1)
    num_key_value_heads: int = setting(
        ..., "key and value heads; fewer than query heads in grouped-query attention", ge=1
    )
    head_dim: int = setting(..., "size of one head; even, as the rotation pairs its halves", ge=4)
    intermediate_size: int = setting(..., "width of the feed-forward layer", ge=1)
    rope_theta: float = setting(10_000.0, "base of the rotary embedding", source="§2.3.1", gt=1)
    rms_norm_eps: float = setting(1e-6, "epsilon of RMSNorm", source="code", gt=0)
    qkv_bias: bool = setting(True, "bias on the query, key and value projection", source="§2.3.1")
    tie_word_embeddings: bool = setting(
        False, "one matrix for the embedding and the output projection", source="§2.3.1"
    )
    train_length: int = setting(
        2048, "context length of training, in tokens; longer is extension", source="§2.4", ge=2
    )

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        heads, kv_heads, size = self.num_attention_heads, self.num_key_value_heads, self.head_dim
        if heads % kv_heads:
            raise ValueError(f"num_key_value_heads = {kv_heads} must divide {heads} query heads")
        if size % 2:
            raise ValueError(f"head_dim = {size} must be even")
        if self.qkv_bias and heads * size != self.hidden_size:  # Llama's head size is free
            raise ValueError(
                f"num_attention_heads × head_dim = {heads} × {size} must equal "
                f"hidden_size = {self.hidden_size}"
            )
        return self


def ffn_width(hidden_size: int) -> int:
    """Return 8/3 of the hidden size, rounded up to a multiple of 128 (§2.3.1)."""
    return -(-8 * hidden_size // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE


def qwen_config(
    *,
    hidden_size: int,
    num_attention_heads: int,
    num_hidden_layers: int,
    vocab_size: int,
    train_length: int = 2048,
) -> ModelConfig:
    """Return a shape by the report's rules: full attention heads, FFN of 8/3, QKV bias, untied."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        num_key_value_heads=num_attention_heads,
        head_dim=hidden_size // num_attention_heads,
        intermediate_size=ffn_width(hidden_size),
        train_length=train_length,
    )


# Table 1; rows of the embedding as published [code].
QWEN_1_8B = qwen_config(
    hidden_size=2048, num_attention_heads=16, num_hidden_layers=24, vocab_size=151_936
)
QWEN_7B = qwen_config(
    hidden_size=4096, num_attention_heads=32, num_hidden_layers=32, vocab_size=151_936
)
QWEN_14B = qwen_config(
    hidden_size=5120, num_attention_heads=40, num_hidden_layers=40, vocab_size=152_064
)


def count_layer_parameters(config: ModelConfig) -> int:
    """Return the parameters of one decoder layer, norms and biases included."""
    hidden = config.hidden_size
    q_size = config.num_attention_heads * config.head_dim
    qkv_size = q_size + 2 * config.num_key_value_heads * config.head_dim
    attention = hidden * qkv_size + q_size * hidden + (qkv_size if config.qkv_bias else 0)
    return attention + 3 * hidden * config.intermediate_size + 2 * hidden


def count_non_embedding_parameters(config: ModelConfig) -> int:
    """Return the parameters outside the embedding and the output projection."""
    return config.num_hidden_layers * count_layer_parameters(config) + config.hidden_size


def count_parameters(config: ModelConfig) -> int:
    """Return the exact number of parameters; a tied matrix counts once."""
    matrices = 1 if config.tie_word_embeddings else 2
    embedding = matrices * config.vocab_size * config.hidden_size
    return embedding + count_non_embedding_parameters(config)
