"""Adapter directories in PEFT's published layout: other tools read ours and we read theirs.

    write_adapter(out, model, base=Path("runs/tiny/base"), alpha=32.0)
    adapter = read_adapter(Path("my-adapter"))
    model = adapter.load_model(dtype=torch.bfloat16)

A packed matrix (q | k | v, gate | up) has one A and B: published, A stands beside each part and B
is cut into the parts' rows. Read back, each part's product is added to its own rows, so foreign
adapters whose A's differ are exact, too.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, write_json
from openqwen.model.adapters import adapters_of
from openqwen.model.decoder import Decoder
from openqwen.model.formats.checkpoint import Checkpoint, read_object
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.parts import qwen2_parts

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# settings of PEFT that change the numbers, and the values under which ours are the same
PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "use_dora": (False, None),
    "modules_to_save": (None, []),
}


def write_adapter(directory: Path, model: Decoder, *, base: Path, alpha: float) -> None:
    """Write a model's adapters; the base is named by a path relative to the directory."""
    parts = qwen2_parts(model.config)
    tensors: dict[str, Tensor] = {}
    modules: set[str] = set()
    rank = 0
    for name, _, _, adapted in adapters_of(model):
        rank = len(adapted.lora_a)
        for published, part in parts.items():
            if part.parameter == f"{name}.weight":
                module = published.removesuffix(".weight")
                rows = slice(part.start, part.start + part.rows)
                tensors[f"{PREFIX}{module}.lora_A.weight"] = adapted.lora_a.detach().clone()
                tensors[f"{PREFIX}{module}.lora_B.weight"] = adapted.lora_b.detach()[rows].clone()
                modules.add(module.rsplit(".", 1)[1])
    assert tensors, "the model has no adapters"
    with atomic_path(directory / ADAPTER_WEIGHTS) as temporary:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, temporary)
    write_json(
        directory / ADAPTER_CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": os.path.relpath(base.resolve(), directory.resolve()),
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "target_modules": sorted(modules),
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
            "fan_in_fan_out": False,
            "inference_mode": True,
        },
    )


@dataclass(frozen=True)
class Adapter:
    """An adapter directory, read: its base, its scale and the published matrices it changes."""

    directory: Path
    base: Checkpoint
    scale: float
    factors: dict[str, tuple[Tensor, Tensor]]  # published module -> A (rank, in), B (out, rank)

    @torch.no_grad()
    def load_model(
        self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Decoder:
        """Return the base with every product folded in, worked out in float32, then cast."""
        model = self.base.load_model(dtype=torch.float32, device=device)
        parameters = dict(model.named_parameters())
        for module, (a, b) in self.factors.items():
            part = self.base.parts.get(f"{module}.weight")
            where = self.directory / ADAPTER_WEIGHTS
            if part is None:
                raise UserError(f"{where}: {module} is no matrix of {self.base.directory}")
            if (b.shape[0], a.shape[1]) != part.shape or a.shape[0] != b.shape[1]:
                raise UserError(f"{where}: {module} has another shape than the base's {part.shape}")
            rows = parameters[part.parameter][part.start : part.start + part.rows]
            rows += (self.scale * (b.float() @ a.float())).to(rows.device)
        return model.to(dtype)


def is_adapter(directory: Path) -> bool:
    """Return whether a directory holds an adapter."""
    return (directory / ADAPTER_CONFIG).is_file()


def read_adapter(directory: Path, base: Path | None = None) -> Adapter:
    """Read an adapter directory and its base, found as named there or given here.

    Raises:
        UserError: if it is no plain LoRA, or its base is not to be found.
    """
    where = directory / ADAPTER_CONFIG
    data = read_object(where)
    if data.get("peft_type") != "LORA":
        raise UserError(f"{where}: peft_type {data.get('peft_type')!r} is not read; LORA is")
    for key, allowed in PLAIN.items():
        if data.get(key, allowed[0]) not in allowed:
            raise UserError(f"{where}: {key} = {data[key]!r} is not implemented")
    rank, alpha = data.get("r"), data.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise UserError(f"{where}: r = {rank!r} and lora_alpha = {alpha!r} must be numbers above 0")
    scale = alpha / (rank**0.5 if data.get("use_rslora") else rank)
    return Adapter(directory, _find_base(directory, base, data), scale, _factors(directory))


def _find_base(directory: Path, base: Path | None, data: dict[str, Any]) -> Checkpoint:
    name = str(data.get("base_model_name_or_path") or "")
    tried = [base] if base is not None else [directory / name, Path(name)] if name else []
    for path in tried:
        if path.is_dir():
            return read_checkpoint(path.resolve())
    shown = base or name or "nothing"
    raise UserError(
        f"{directory}: the base model {shown} that this adapter changes is not there; "
        "name it: openqwen merge ADAPTER --base DIR --out DIR"
    )


def _factors(directory: Path) -> dict[str, tuple[Tensor, Tensor]]:
    path = directory / ADAPTER_WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read as safetensors: {error}") from None
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, side = name.removesuffix(".weight").rpartition(".")
        if side not in ("lora_A", "lora_B") or not name.startswith(PREFIX):
            raise UserError(f"{path}: unknown tensor {name}")
        found.setdefault(module.removeprefix(PREFIX), {})[side] = tensor
    if alone := [module for module, sides in found.items() if len(sides) != 2]:
        raise UserError(f"{path}: {alone[0]} has only one of lora_A and lora_B")
    return {module: (sides["lora_A"], sides["lora_B"]) for module, sides in found.items()}
