"""The memory plan of a server: what its models will take, before any is loaded.

plan = plan_memory(models)
print(plan.text())
plan.check()               # one line, exit code 2, where it can't fit
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.log import format_bytes
from openqwen.core.runtime import memory_bytes, pick_device
from openqwen.infer.engine import Engine
from openqwen.infer.footprint import Footprint, measure_footprint
from openqwen.infer.hub import find_model
from openqwen.serve.config import ModelConfig, check_models
from openqwen.serve.models import kv_share

PROGRAM_BYTES = 500_000_000  # Python, torch and the chat page's library: 476 MB measured
ADAPTER_FILES = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class ModelPlan:
    """One model's part of the plan."""

    config: ModelConfig
    footprint: Footprint
    adapter_bytes: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Return all that it takes once it serves."""
        foot = self.footprint
        fixed = foot.weight_bytes + sum(self.adapter_bytes.values()) + foot.step_bytes
        return fixed + foot.engine.limit_bytes

    def lines(self) -> list[str]:
        """Return the plan's lines for this model."""
        foot, engine = self.footprint, self.footprint.engine
        kind = self.config.quantize or foot.dtype
        limit, whole = engine.limit_bytes, engine.bytes_of(foot.context)
        sequences = limit // whole if whole else 0
        lines = [
            f"{self.config.served_name} ({foot.num_parameters:,} parameters, {kind}, "
            f"context {foot.context:,} tokens)",
            _line("weights", foot.weight_bytes),
            *(_line(f"adapter {name}", size) for name, size in self.adapter_bytes.items()),
            _line("a step's work", foot.step_bytes, "about"),
            _line(
                "KV memory, at most",
                limit,
                f"{_count(most_tokens(engine), 'token')}, or {_count(sequences, 'sequence')} of "
                f"the whole context ({format_bytes(whole)} each); "
                f"{self.config.max_num_seqs} run at once",
            ),
        ]
        if foot.load_bytes > self.total_bytes:
            lines.append(_line("while loading, first time", foot.load_bytes))
        return lines


@dataclass(frozen=True)
class MemoryPlan:
    """All models of a server on one machine.

    Attributes:
        models: each one's part.
        available_bytes: memory of the device, or what this process may use.
    """

    models: tuple[ModelPlan, ...]
    available_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return what the process will take at most."""
        return PROGRAM_BYTES + sum(model.total_bytes for model in self.models)

    def text(self) -> str:
        """Return the plan as lines for people."""
        lines = [line for model in self.models for line in model.lines()]
        lines += [
            "altogether",
            _line("program and libraries", PROGRAM_BYTES, "about"),
            _line("total, at most", self.total_bytes, f"of {format_bytes(self.available_bytes)}"),
        ]
        return "\n".join(lines)

    def check(self) -> None:
        """Refuse a plan that can't fit.

        Raises:
            UserError: what is missing, and what would help.
        """
        for model in self.models:
            foot = model.footprint
            if foot.engine.bytes_of(2) > foot.engine.limit_bytes:
                raise UserError(
                    f"{model.config.served_name}: kv_bytes = {foot.engine.limit_bytes:,} holds no "
                    f"sequence at all; the least is {foot.engine.bytes_of(2):,}"
                )
        if self.total_bytes <= self.available_bytes:
            return
        hint = "lower kv_bytes or the context"
        if any(model.config.quantize is None for model in self.models):
            hint += ", or quantize to int4"
        raise UserError(
            f"this needs up to {format_bytes(self.total_bytes)}, and there are "
            f"{format_bytes(self.available_bytes)}: {hint}"
        )


def plan_memory(configs: Sequence[ModelConfig]) -> MemoryPlan:
    """Return the plan of these models; reads their files' heads only.

    Raises:
        UserError: as `load` does.
    """
    check_models(tuple(configs), where="models")
    plans = tuple(_plan(entry, len(configs)) for entry in configs)
    device = pick_device(configs[0].device) if configs else None
    return MemoryPlan(plans, memory_bytes(device))


def most_tokens(engine: Engine) -> int:
    """Return how many tokens of one long sequence an engine's KV memory holds, about."""
    low, high = 0, 1
    while high < 2**40 and _fits(engine, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(engine, middle) else (low, middle)
    return low


def _fits(engine: Engine, tokens: int) -> bool:
    return engine.bytes_of(tokens) <= engine.limit_bytes


def _plan(entry: ModelConfig, num_models: int) -> ModelPlan:
    footprint = measure_footprint(
        entry.path,
        context=entry.context,
        quantize=entry.quantize,
        dtype=entry.dtype,
        device=entry.device,
        kv_bytes=entry.kv_bytes or kv_share(num_models),
        kv_dtype=entry.kv_dtype,
        max_num_seqs=entry.max_num_seqs,
        max_tokens_per_step=entry.max_tokens_per_step,
    )
    adapters = {name: _size_of(find_model(root)) for name, root in entry.adapters.items()}
    return ModelPlan(entry, footprint, adapters)


def _size_of(directory: Path) -> int:
    if not directory.is_dir():
        raise UserError(f"{directory} is no adapter directory")
    return sum(p.stat().st_size for pattern in ADAPTER_FILES for p in directory.glob(pattern))


def _line(what: str, size: int, note: str = "") -> str:
    return f"  {what:<26}{format_bytes(size):>10}" + (f"   {note}" if note else "")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
