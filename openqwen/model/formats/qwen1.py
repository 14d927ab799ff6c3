"""Qwen-1's published layout: two generations of config keys, packed c_attn, w2 the gate.

    checkpoint = read_qwen1(directory, read_config(directory))

Its `seq_length` is the training length that switches NTK and LogN, whatever the model's name or
`max_position_embeddings` say; its `intermediate_size` is twice the width of the FFN.
"""

from pathlib import Path
from typing import Any

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.model.config import ModelConfig
from openqwen.model.formats.checkpoint import (
    CONFIG_NAME,
    Checkpoint,
    read_stop_ids,
    require_int,
    require_number,
)
from openqwen.model.formats.parts import qwen1_parts
from openqwen.model.long_context import LongContext

# key of the later generation -> key of August 2023
ALIASES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "ffn_hidden_size",
    "max_position_embeddings": "n_positions",
    "rotary_emb_base": "rope_theta",
    "vocab_size": "padded_vocab_size",
}
# settings that change the numbers and that no published checkpoint has otherwise
FIXED = {"no_bias": True, "scale_attn_weights": True, "rotary_pct": 1.0}


def read_qwen1(directory: Path, data: dict[str, Any]) -> Checkpoint:
    """Read a Qwen-1 directory from its parsed config.json.

    Raises:
        UserError: naming the key that is missing, wrong, contradicted by its alias, or asks for
            what no published Qwen-1 does.
    """
    where = directory / CONFIG_NAME
    data = _with_later_keys(data, where)
    for key, value in FIXED.items():
        if data.get(key, value) != value:
            raise UserError(f"{where}: {key} = {data[key]!r} is not implemented, only {value!r}")
    heads = require_int(data, "num_attention_heads", where)
    hidden = require_int(data, "hidden_size", where)
    doubled = require_int(data, "intermediate_size", where)
    if doubled % 2:
        raise UserError(f"{where}: intermediate_size = {doubled} must be even (twice the width)")
    has_head_size = data.get("kv_channels") is not None
    shape = {
        "vocab_size": require_int(data, "vocab_size", where),
        "hidden_size": hidden,
        "num_hidden_layers": require_int(data, "num_hidden_layers", where),
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": require_int(data, "kv_channels", where)
        if has_head_size
        else hidden // max(heads, 1),
        "intermediate_size": doubled // 2,
        "rope_theta": require_number(data, "rotary_emb_base", where, 10_000.0),
        "rms_norm_eps": require_number(data, "layer_norm_epsilon", where, 1e-6),
        "qkv_bias": True,
        "tie_word_embeddings": bool(data.get("tie_word_embeddings", False)),
        "train_length": require_int(data, "seq_length", where),
    }
    config = parse_config(ModelConfig, shape, where=str(where))
    has_context = data.get("max_position_embeddings") is not None
    return Checkpoint(
        directory=directory,
        config=config,
        parts=qwen1_parts(config),
        context=require_int(data, "max_position_embeddings", where)
        if has_context
        else config.train_length,
        long_context=LongContext(
            ntk=bool(data.get("use_dynamic_ntk", False)),
            logn=bool(data.get("use_logn_attn", False)),
        ),
        stop_ids=read_stop_ids(directory, data),
    )


def _with_later_keys(data: dict[str, Any], where: Path) -> dict[str, Any]:
    """Return the config under the later generation's keys; a pair that disagrees is an error."""
    renamed = dict(data)
    for key, alias in ALIASES.items():
        if alias not in renamed:
            continue
        value = renamed.pop(alias)
        if key in renamed and renamed[key] != value:
            raise UserError(
                f"{where}: {key} = {renamed[key]!r} and {alias} = {value!r} mean the same "
                "and differ"
            )
        renamed[key] = value
    return renamed
