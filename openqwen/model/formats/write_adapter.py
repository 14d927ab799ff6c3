"""A trained model's adapters out, in PEFT's published layout.

    write_adapter(out, model, base=checkpoint, masters=masters)

One pair over a packed matrix is published as a pair a part: A stands beside each, B is cut into the
parts' rows. Embeddings that were trained are stored whole (`modules_to_save`) or by rows
(`trainable_token_indices`); tied ones that are stored whole are stored twice, since PEFT would
otherwise keep the base's projection.
"""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from openqwen.core.files import write_json
from openqwen.model.adapters import EMBEDDINGS, LowRank, TrainedRows, adapters_of
from openqwen.model.decoder import Decoder
from openqwen.model.formats.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PREFIX, TOKEN_ROWS
from openqwen.model.formats.checkpoint import Checkpoint
from openqwen.model.formats.parts import Part, qwen2_parts
from openqwen.model.formats.weights import save_tensors

LAYERS = ("model.layers.", "transformer.h.")  # of module names that PEFT can find


def write_adapter(
    directory: Path,
    model: Decoder,
    *,
    base: Checkpoint,
    masters: Mapping[str, Tensor] | None = None,
) -> None:
    """Write adapters and trained embeddings; the base is named by a path relative to the directory.

    Args:
        directory: made if missing.
        model: with adapters.
        base: what it was made from; its matrices' published names are used, or Qwen2's where they
            are those of another kind of file.
        masters: parameter name -> a more precise value of it; whole embeddings are written as the
            model has them.
    """
    parameters = dict(model.named_parameters()) | dict(masters or {})
    tensors: dict[str, Tensor] = {}
    pairs: dict[str, LowRank] = {}
    parts = _published(base)
    for name, _, _, adapted in adapters_of(model):
        for place, pair in enumerate(adapted.parts):
            ours = f"{name}.parts.{place}"
            a, b = (parameters[f"{ours}.{side}"].detach() for side in ("lora_a", "lora_b"))
            for module, part in _covered(parts, f"{name}.weight", pair):
                start = part.start - pair.start
                tensors[f"{PREFIX}{module}.lora_A.weight"] = a.clone()
                tensors[f"{PREFIX}{module}.lora_B.weight"] = b[start : start + part.rows].clone()
                pairs[module] = pair
    assert pairs, "the model has no adapters"
    settings = _settings(pairs, base, directory)
    _add_embeddings(model, parts, parameters, tensors, settings)
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    save_tensors(directory / ADAPTER_WEIGHTS, plain)
    write_json(directory / ADAPTER_CONFIG, settings)


def _published(base: Checkpoint) -> dict[str, Part]:
    """Return the base's own names where they are modules of a model that PEFT can wrap."""
    has_modules = any(name.startswith(LAYERS) for name in base.parts)
    return base.parts if has_modules else qwen2_parts(base.config)


def _covered(parts: dict[str, Part], parameter: str, pair: LowRank) -> list[tuple[str, Part]]:
    """Return the published matrices inside a pair's rows."""
    return [
        (name.removesuffix(".weight"), part)
        for name, part in parts.items()
        if part.parameter == parameter
        and pair.start <= part.start
        and part.start + part.rows <= pair.start + pair.rows
    ]


def _settings(pairs: dict[str, LowRank], base: Checkpoint, directory: Path) -> dict[str, Any]:
    """Return adapter_config.json; what differs from the commonest rank and alpha is a pattern."""
    rank = Counter(pair.rank for pair in pairs.values()).most_common(1)[0][0]
    alpha = Counter(pair.alpha for pair in pairs.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": os.path.relpath(base.directory.resolve(), directory.resolve()),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: pair.rank for name, pair in pairs.items() if pair.rank != rank},
        "alpha_pattern": {name: pair.alpha for name, pair in pairs.items() if pair.alpha != alpha},
        "lora_dropout": 0.0,
        "target_modules": _targets(pairs, base.config.num_hidden_layers),
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _targets(pairs: dict[str, LowRank], num_layers: int) -> list[str]:
    """Return the last parts of the names where every layer has the same, else whole names."""
    leaves = Counter(name.rsplit(".", 1)[1] for name in pairs)
    return sorted(leaves if set(leaves.values()) == {num_layers} else pairs)


def _add_embeddings(
    model: Decoder,
    parts: dict[str, Part],
    parameters: Mapping[str, Tensor],
    tensors: dict[str, Tensor],
    settings: dict[str, Any],
) -> None:
    """Add the trained embedding and projection to tensors and settings."""
    names = {part.parameter: name.removesuffix(".weight") for name, part in parts.items()}
    is_tied = model.config.tie_word_embeddings
    for ours in EMBEDDINGS:
        module = getattr(model, ours)
        published = names.get(f"{ours}.weight", ours)
        leaf = published.rsplit(".", 1)[-1]
        if isinstance(module, TrainedRows):
            if is_tied and ours == "lm_head":
                continue  # PEFT ties it to the embedding's rows by itself
            indices = settings.setdefault("trainable_token_indices", {})
            indices[leaf] = module.rows_N.tolist()
            tensors[f"{PREFIX}{published}{TOKEN_ROWS}"] = parameters[f"{ours}.values"].clone()
        elif module.weight.requires_grad:
            settings.setdefault("modules_to_save", []).append(leaf)
            tensors[f"{PREFIX}{published}.weight"] = module.weight.clone()
    if is_tied and "modules_to_save" in settings:
        settings["ensure_weight_tying"] = True
