"""What PEFT's adapter_config.json says, and what of it is refused rather than ignored.

    settings = read_settings(directory / "adapter_config.json")
    settings.rank_and_alpha("model.layers.0.self_attn.q_proj")      # (16, 32.0)

Keys, meanings and the matching of patterns are those of PEFT 0.21's LoraConfig.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.model.formats.checkpoint import read_block, read_object

# settings that change the numbers, and the values under which ours are the same
PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "fan_in_fan_out": (False, None),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    # PiSSA, OLoRA, CorDA and others change the base's weights when the adapter is loaded
    "init_lora_weights": (True, False, "gaussian", None),
}
# settings that say how it was made, where it goes, or what the tensors' own names say
HARMLESS = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "auto_mapping"),
    *("inference_mode", "peft_version", "megatron_core", "runtime_config", "qalora_group_size"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern"),
    *("modules_to_save", "trainable_token_indices", "ensure_weight_tying"),
}
EMBEDDING_NAMES = ("embed_tokens", "wte", "lm_head")
NOTHING: tuple[Any, ...] = (None, False, "", [], {})


@dataclass(frozen=True)
class AdapterSettings:
    """The settings that we act on.

    Attributes:
        where: the file, for messages.
        base: what the base is called there, a path or a hub id; "" where nothing is named.
        rank: of matrices that no pattern names.
        alpha: the same.
        is_stabilised: products are scaled by alpha / sqrt(rank) (Kalajdzievski 2023).
        rank_pattern: pattern of module names -> rank.
        alpha_pattern: the same, alpha.
        dropout: inside the adapter, in training only.
        saved: embedding and projection modules that are stored whole.
        token_rows: module -> ids whose rows alone are stored.
        keeps_tied: an embedding stored for a base that ties both stands for the projection, too.
    """

    where: Path
    base: str
    rank: int
    alpha: float
    is_stabilised: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    dropout: float = 0.0
    saved: tuple[str, ...] = ()
    token_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    keeps_tied: bool = False

    def rank_and_alpha(self, module: str) -> tuple[int, float]:
        """Return a matrix's rank and the alpha by which its product is scaled by alpha / rank."""
        rank = self.rank_pattern.get(_matching(self.rank_pattern, module), self.rank)
        alpha = self.alpha_pattern.get(_matching(self.alpha_pattern, module), self.alpha)
        return rank, float(alpha) * (rank**0.5 if self.is_stabilised else 1.0)


def read_settings(where: Path) -> AdapterSettings:
    """Read an adapter_config.json.

    Raises:
        UserError: if it is no LoRA, or asks for anything that isn't implemented here.
    """
    data = read_object(where)
    if data.get("peft_type") != "LORA":
        raise UserError(f"{where}: peft_type {data.get('peft_type')!r} is not read; LORA is")
    for key, value in data.items():
        allowed = PLAIN.get(key, NOTHING)
        if key not in HARMLESS and not any(value is a or value == a for a in allowed):
            raise UserError(f"{where}: {key} = {value!r} is not implemented")
    rank, alpha = data.get("r"), data.get("lora_alpha")
    _check_numbers(where, "r", rank, "lora_alpha", alpha)
    ranks, alphas = (read_block(data, key, where) for key in ("rank_pattern", "alpha_pattern"))
    for key in [*ranks, *alphas]:
        _check_pattern(where, key)
        _check_numbers(
            where, f"rank of {key}", ranks.get(key, 1), f"alpha of {key}", alphas.get(key, 1)
        )
    return AdapterSettings(
        where=where,
        base=str(data.get("base_model_name_or_path") or ""),
        rank=int(rank or 0),
        alpha=float(alpha or 0),
        is_stabilised=bool(data.get("use_rslora")),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        dropout=float(data.get("lora_dropout") or 0.0),
        saved=_saved(where, data.get("modules_to_save")),
        token_rows=_token_rows(where, data.get("trainable_token_indices")),
        keeps_tied=bool(data.get("ensure_weight_tying")),
    )


def _check_numbers(where: Path, rank_name: str, rank: Any, alpha_name: str, alpha: Any) -> None:
    whole = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
    if not whole or not isinstance(alpha, int | float) or alpha <= 0:
        raise UserError(
            f"{where}: {rank_name} = {rank!r} and {alpha_name} = {alpha!r} must be numbers above 0"
        )


def _check_pattern(where: Path, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where}: {pattern!r} is no pattern of module names: {error}") from None


def _saved(where: Path, value: Any) -> tuple[str, ...]:
    """Return the last parts of the names of modules that are stored whole."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    found = tuple(str(name).rsplit(".", 1)[-1] for name in names)
    for name in found:
        if name not in EMBEDDING_NAMES:
            raise UserError(
                f"{where}: modules_to_save names {name!r}; only the embedding and the output "
                f"projection ({', '.join(EMBEDDING_NAMES)}) are read"
            )
    return found


def _token_rows(where: Path, value: Any) -> dict[str, tuple[int, ...]]:
    """Return which rows of which module are stored; a plain list means the embedding's."""
    rows = {"embed_tokens": value} if isinstance(value, list) else value or {}
    if not isinstance(rows, dict) or not all(
        isinstance(ids, list) and all(isinstance(i, int) and i >= 0 for i in ids)
        for ids in rows.values()
    ):
        raise UserError(
            f"{where}: trainable_token_indices must be ids, or ids by module, got {value!r}"
        )
    found = {str(name).rsplit(".", 1)[-1]: tuple(ids) for name, ids in rows.items()}
    for name in found:
        if name not in EMBEDDING_NAMES:
            raise UserError(f"{where}: trainable_token_indices names {name!r}, no embedding")
    return found


def _matching(patterns: Mapping[str, Any], module: str) -> str:
    """Return the first pattern that a module's name ends with, as PEFT does; "" where none."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), "")
