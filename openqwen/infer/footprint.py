"""What a model would take in memory, known from its files' heads: no weight is read.

    footprint = measure_footprint("Qwen/Qwen2.5-0.5B", quantize="int4", kv_bytes=2 * 10**9)
    footprint.weight_bytes, footprint.engine.bytes_of(4096), footprint.context

The engine of a footprint stands on a model without numbers: it can plan and not compute.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from openqwen.core.config import parse_config
from openqwen.core.runtime import pick_device, pick_dtype
from openqwen.infer.config import EngineConfig
from openqwen.infer.engine import Engine
from openqwen.infer.hub import find_model
from openqwen.infer.quantise import Kind, quantise
from openqwen.infer.request import Vocabulary
from openqwen.model.config import ModelConfig, count_parameters
from openqwen.model.decoder import Decoder, empty_decoder
from openqwen.model.formats.adapter import is_adapter, read_adapter
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.long_context import plan_long_context

LOGITS_COPIES = 3  # float32 rows of the vocabulary that a step holds at once, sampling included


@dataclass(frozen=True)
class Footprint:
    """A model's memory, in bytes.

    Attributes:
        num_parameters: of the model.
        dtype: compute type, as `bfloat16`.
        context: tokens of prompt and reply.
        weight_bytes: of all weights as they will be held.
        load_bytes: at most while they are loaded or rounded for the first time.
        step_bytes: what a step computes with, about.
        engine: plans KV memory: `bytes_of` and `limit_bytes`.
    """

    num_parameters: int
    dtype: str
    context: int
    weight_bytes: int
    load_bytes: int
    step_bytes: int
    engine: Engine


def measure_footprint(
    path: str | Path,
    *,
    context: int | None = None,
    quantize: Kind | None = None,
    dtype: str = "auto",
    device: str = "auto",
    **engine: Any,
) -> Footprint:
    """Return what a model would take; the options are `load`'s, `engine` is `EngineConfig`'s.

    Raises:
        UserError: as `load` does for a directory that is no model, or a setting that is wrong.
    """
    directory = find_model(path)
    is_change = is_adapter(directory)
    checkpoint = read_adapter(directory).base if is_change else read_checkpoint(directory)
    kind = pick_dtype(dtype, pick_device(device))
    config = checkpoint.config
    methods = checkpoint.long_context
    if context is not None:
        methods = plan_long_context(config, context)
    model = empty_decoder(config, dtype=kind, device="meta").eval()
    plain_bytes = _bytes_of(model)
    settings = parse_config(EngineConfig, engine, where="engine")
    planned = Engine(
        model,
        Vocabulary(None, torch.ones(config.vocab_size, dtype=torch.bool), ()),
        long_context=methods,
        config=settings,
    )
    if quantize is not None:
        quantise(model, quantize)
    weight_bytes = _bytes_of(model)
    return Footprint(
        num_parameters=count_parameters(config),
        dtype=str(kind).removeprefix("torch."),
        context=context or checkpoint.context,
        weight_bytes=weight_bytes,
        load_bytes=weight_bytes + (plain_bytes if quantize is not None else 0),
        step_bytes=_step_bytes(config, settings, kind),
        engine=planned,
    )


def _bytes_of(model: Decoder) -> int:
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _step_bytes(config: ModelConfig, settings: EngineConfig, dtype: torch.dtype) -> int:
    """Return what one step holds between layers, and its rows of logits."""
    tokens = max(settings.max_tokens_per_step, settings.max_num_seqs)
    widths = 4 * config.hidden_size + 3 * config.intermediate_size
    rows = settings.max_num_seqs * config.vocab_size * 4 * LOGITS_COPIES
    return tokens * widths * dtype.itemsize + rows
