"""The export directory: Qwen2's published layout, with what it can't say under the key "openqwen".

    write_export(directory, model, stop_ids=tokenizer.stop_ids, lineage_hash=digest)
    checkpoint = read_qwen2(directory, read_config(directory))

Other libraries load the directory as it is. A model without QKV bias is written as Llama, since
Qwen2's layout always has it. The tokenizer writes its own files beside these.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import INITIALIZER_RANGE, Decoder
from openqwen.model.formats.checkpoint import (
    CONFIG_NAME,
    GENERATION_NAME,
    Checkpoint,
    read_block,
    read_stop_ids,
    require_int,
    require_number,
)
from openqwen.model.formats.parts import qwen2_parts, scorer_parts
from openqwen.model.formats.weights import WEIGHTS_NAME, write_weights
from openqwen.model.long_context import NO_EXTENSION, LongContext
from openqwen.model.scorer import Scorer

FORMAT_VERSION = 1
SCORING = "SequenceClassification"  # closes the architecture's name where the head is a score


def write_export(
    directory: Path,
    model: Decoder | Scorer,
    *,
    stop_ids: Sequence[int],
    eos_id: int | None = None,
    long_context: LongContext = NO_EXTENSION,
    lineage_hash: str = "",
) -> None:
    """Write weights, generation_config.json and, last, config.json; same model, same bytes.

    Args:
        directory: made if missing; files of other names stay.
        model: written in the type its parameters have.
        stop_ids: every id that ends a generation.
        eos_id: the end-of-document id, also used for padding; the first stop id where None.
        long_context: methods that a loader should switch on by itself; usually none.
        lineage_hash: identity of the stage that made the weights.
    """
    is_scorer = isinstance(model, Scorer)
    parts = scorer_parts(model.config) if is_scorer else qwen2_parts(model.config)
    write_weights(directory / WEIGHTS_NAME, model, parts)
    describe_export(
        directory,
        model.config,
        dtype=next(model.parameters()).dtype,
        is_scorer=is_scorer,
        stop_ids=stop_ids,
        eos_id=eos_id,
        long_context=long_context,
        lineage_hash=lineage_hash,
    )


def describe_export(
    directory: Path,
    config: ModelConfig,
    *,
    dtype: torch.dtype,
    is_scorer: bool,
    stop_ids: Sequence[int],
    eos_id: int | None = None,
    long_context: LongContext = NO_EXTENSION,
    lineage_hash: str = "",
) -> None:
    """Write generation_config.json and, last, config.json beside weights that are there.

    Args:
        directory: of the weights.
        config: the model's shape.
        dtype: of the written weights.
        is_scorer: whether the head is a score.
        stop_ids: as in `write_export`, with all that follows.
        eos_id: the end-of-document id.
        long_context: methods that are switched on.
        lineage_hash: identity of the stage.
    """
    type_name = str(dtype).removeprefix("torch.")
    eos = eos_id if eos_id is not None else next(iter(stop_ids), None)
    write_json(
        directory / GENERATION_NAME,
        {"eos_token_id": list(stop_ids), "pad_token_id": eos, "do_sample": False},
    )
    data = published_config(config) | {"dtype": type_name, "torch_dtype": type_name}
    data["eos_token_id"] = eos
    if is_scorer:
        data["architectures"] = [data["architectures"][0].replace("CausalLM", SCORING)]
        data |= {"num_labels": 1, "id2label": {"0": "score"}, "label2id": {"score": 0}}
        data["pad_token_id"] = eos
    data["openqwen"] = own_block(config, long_context, lineage_hash)
    write_json(directory / CONFIG_NAME, data)


def own_block(
    config: ModelConfig, long_context: LongContext = NO_EXTENSION, lineage_hash: str = ""
) -> dict[str, Any]:
    """Return what Qwen2's layout can't say, for the key "openqwen"."""
    return {
        "format": FORMAT_VERSION,
        "train_length": config.train_length,
        "long_context": {
            "ntk": long_context.ntk,
            "logn": long_context.logn,
            "windows": list(long_context.windows) if long_context.windows else None,
        },
        "lineage_hash": lineage_hash,
    }


def published_config(config: ModelConfig) -> dict[str, Any]:
    """Return a shape in the keys of Qwen2's config.json, or Llama's where it has no QKV bias."""
    family = "qwen2" if config.qkv_bias else "llama"
    data: dict[str, Any] = {
        "model_type": family,
        "architectures": ["Qwen2ForCausalLM" if config.qkv_bias else "LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.train_length,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_dropout": 0.0,
        "initializer_range": INITIALIZER_RANGE,
        "use_cache": True,
        "bos_token_id": None,
    }
    if config.qkv_bias:
        return data | {"use_sliding_window": False, "sliding_window": None}
    return data | {"attention_bias": False, "mlp_bias": False}


def read_qwen2(directory: Path, data: dict[str, Any]) -> Checkpoint:
    """Read a Qwen2, Llama or export directory from its parsed config.json.

    Raises:
        UserError: naming the key that is missing, wrong or asks for what is not implemented.
    """
    where = directory / CONFIG_NAME
    _refuse_unsupported(data, where)
    own = read_block(data, "openqwen", where)
    positions = require_int(data, "max_position_embeddings", where)
    hidden = require_int(data, "hidden_size", where)
    heads = require_int(data, "num_attention_heads", where)
    optional = {
        key: require_int(data, key, where)
        for key in ("num_key_value_heads", "head_dim")
        if data.get(key) is not None
    }
    shape = {
        "vocab_size": require_int(data, "vocab_size", where),
        "hidden_size": hidden,
        "num_hidden_layers": require_int(data, "num_hidden_layers", where),
        "num_attention_heads": heads,
        "num_key_value_heads": optional.get("num_key_value_heads", heads),
        "head_dim": optional.get("head_dim", hidden // max(heads, 1)),
        "intermediate_size": require_int(data, "intermediate_size", where),
        "rope_theta": _rope_theta(data, where),
        "rms_norm_eps": require_number(data, "rms_norm_eps", where, 1e-6),
        "qkv_bias": data["model_type"] == "qwen2",
        "tie_word_embeddings": bool(data.get("tie_word_embeddings", False)),
        "train_length": require_int(own, "train_length", where) if own else positions,
    }
    config = parse_config(ModelConfig, shape, where=str(where))
    is_scorer = _is_scorer(data, where)
    return Checkpoint(
        directory=directory,
        config=config,
        parts=scorer_parts(config) if is_scorer else qwen2_parts(config),
        is_scorer=is_scorer,
        context=require_int(own, "context", where) if "context" in own else positions,
        long_context=_read_long_context(own, config, where),
        stop_ids=read_stop_ids(directory, data),
        lineage_hash=str(own.get("lineage_hash", "")),
    )


def _is_scorer(data: dict[str, Any], where: Path) -> bool:
    """Return whether the file describes a reward model; one with several labels is refused."""
    names = data.get("architectures")
    if not isinstance(names, list) or not any(str(name).endswith(SCORING) for name in names):
        return False
    labels = data.get("num_labels", len(read_block(data, "id2label", where)) or 2)
    if labels != 1:
        raise UserError(f"{where}: a classifier of {labels} labels; a reward model has 1")
    return True


def _refuse_unsupported(data: dict[str, Any], where: Path) -> None:
    """Refuse what would change the numbers and isn't implemented, rather than map it silently."""
    wanted = {
        "hidden_act": ("silu", None),
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "use_sliding_window": (False, None),
    }
    for key, allowed in wanted.items():
        if data.get(key) not in allowed:
            raise UserError(f"{where}: {key} = {data[key]!r} is not implemented")
    for key in ("rope_scaling", "rope_parameters"):
        block = read_block(data, key, where)
        kind = block.get("rope_type") or block.get("type")
        if kind not in (None, "default"):
            raise UserError(f"{where}: {key} of type {kind!r} is not implemented")


def _rope_theta(data: dict[str, Any], where: Path) -> float:
    """Return the rotary base from either of its places; they must agree where both are there."""
    found = {
        require_number(source, "rope_theta", where, 0.0)
        for source in (data, read_block(data, "rope_parameters", where))
        if "rope_theta" in source
    }
    if len(found) > 1:
        raise UserError(f"{where}: rope_theta is given twice and differs: {sorted(found)}")
    return found.pop() if found else 10_000.0


def _read_long_context(own: dict[str, Any], config: ModelConfig, where: Path) -> LongContext:
    """Return the methods that an export's own block switches on."""
    block = read_block(own, "long_context", where)
    windows = block.get("windows")
    if windows is not None:
        whole = isinstance(windows, list) and all(isinstance(w, int) and w >= 1 for w in windows)
        if not whole or len(windows) != config.num_hidden_layers:
            raise UserError(
                f"{where}: openqwen.long_context.windows must give a number of tokens for each of "
                f"{config.num_hidden_layers} layers"
            )
    return LongContext(
        ntk=bool(block.get("ntk", False)),
        logn=bool(block.get("logn", False)),
        windows=tuple(windows) if windows is not None else None,
    )
