"""Qwen-1's published layout, out: the later generation of config keys, q, k and v packed.

    check_qwen1(config)                       # a shape the layout can say, or one line why not
    write_json(directory / "config.json", qwen1_config(checkpoint, dtype="bfloat16"))

Its `intermediate_size` is twice the width of the FFN; `seq_length` is the training length. The code
of the published model (modeling_qwen.py …) is not ours to write; put beside, it runs these files.
"""

from typing import Any

from openqwen.core.errors import UserError
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import INITIALIZER_RANGE
from openqwen.model.formats.checkpoint import Checkpoint

# of the published chat models' generation_config.json
MAX_NEW_TOKENS = 512
WINDOW_SHARE = 0.75  # of the training length: 6,144 of 8,192 tokens for the prompt


def check_qwen1(config: ModelConfig) -> None:
    """Raise UserError unless Qwen-1's layout can say the shape."""
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    reason = None
    if kv_heads != heads:
        reason = f"{kv_heads} key and value heads for {heads} query heads; it has one for each"
    elif not config.qkv_bias:
        reason = "no bias on queries, keys and values; it always has one"
    elif config.tie_word_embeddings:
        reason = "one matrix for embedding and output; it has two"
    if reason is not None:
        raise UserError(f"the model can't be written in Qwen-1's layout: it has {reason}")


def qwen1_config(checkpoint: Checkpoint, *, dtype: str) -> dict[str, Any]:
    """Return config.json of a checkpoint whose shape `check_qwen1` has passed."""
    config, methods = checkpoint.config, checkpoint.long_context
    return {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "model_type": "qwen",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": 2 * config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "kv_channels": config.head_dim,
        "max_position_embeddings": checkpoint.context,
        "seq_length": config.train_length,
        "rotary_emb_base": config.rope_theta,
        "rotary_pct": 1.0,
        "layer_norm_epsilon": config.rms_norm_eps,
        "no_bias": True,
        "scale_attn_weights": True,
        "tie_word_embeddings": False,
        "use_dynamic_ntk": methods.ntk,
        "use_logn_attn": methods.logn,
        "attn_dropout_prob": 0.0,
        "emb_dropout_prob": 0.0,
        "initializer_range": INITIALIZER_RANGE,
        "bf16": False,  # these three are switches of the published code; all off is "decide"
        "fp16": False,
        "fp32": False,
        "use_flash_attn": "auto",
        "use_cache": True,
        "tokenizer_class": "QWenTokenizer",
        "torch_dtype": dtype,
    }


def qwen1_generation(
    config: ModelConfig, *, eos_id: int | None, stop_ids: list[int], is_chat: bool
) -> dict[str, Any]:
    """Return generation_config.json: the end of a document, and ChatML's ends as stop words."""
    data: dict[str, Any] = {
        "eos_token_id": eos_id,
        "pad_token_id": eos_id,
        "stop_words_ids": [[i] for i in stop_ids if i != eos_id],
        "max_new_tokens": MAX_NEW_TOKENS,
        "max_window_size": int(WINDOW_SHARE * config.train_length),
        "do_sample": False,
    }
    return data | ({"chat_format": "chatml"} if is_chat else {})


def unsaid_in_qwen1(checkpoint: Checkpoint) -> list[str]:
    """Return one line for each thing that Qwen-1's layout has no place for."""
    windows = checkpoint.long_context.windows
    if windows is None:
        return []
    return ["layer-wise windows are left out: Qwen-1's layout has no place for them"]
