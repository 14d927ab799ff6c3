"""A model directory, adapter, GGUF file or hub id, loaded.

    lm = load("runs/tiny/base", context=1024)
    lm.generate(["Once upon a time"], max_new_tokens=40)[0].text

Reads export directories, Qwen2, Llama and Qwen-1 directories (GPTQ and .bin weights, too), GGUF
files and hub ids; a model without a tokenizer too.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from openqwen.core.errors import UserError
from openqwen.core.runtime import pick_device, pick_dtype
from openqwen.infer.adapters import Adapters, attach
from openqwen.infer.converted import load_quantised
from openqwen.infer.fused import FusedStack, fuse
from openqwen.infer.hub import find_model
from openqwen.infer.language_model import LanguageModel, Prompt
from openqwen.infer.quantise import KINDS, Kind
from openqwen.infer.quantise import quantise as apply_quantisation
from openqwen.model.decoder import Decoder
from openqwen.model.formats.adapter import ADAPTER_CONFIG, Adapter, is_adapter, read_adapter
from openqwen.model.formats.checkpoint import Checkpoint
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.long_context import LongContext, plan_long_context
from openqwen.tokenizer.files import has_vocabulary
from openqwen.tokenizer.tokenizer import Tokenizer

__all__ = ["LanguageModel", "Prompt", "load"]


def load(
    path: str | Path,
    *,
    adapter: str | Path | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    context: int | None = None,
    long_context: LongContext | None = None,
    recompute: bool = False,
    quantize: Kind | None = None,
) -> LanguageModel:
    """Load a model directory.

    Args:
        path: an export directory (a finished training stage is one), or a directory in the
            published Qwen2, Llama or Qwen-1 layout, or a GGUF file; text that is no path here and
            reads as owner/name is a hub id. An adapter directory loads with the base it names.
        adapter: an adapter directory (ours or PEFT's) to fold into the model at `path`.
        adapters: adapter directories by name, kept beside the model: requests choose among them
            and still share one batch (`infer.adapters`).
        dtype: compute type; "auto" is bfloat16 where the hardware multiplies it, else float32.
        device: "auto" is the first GPU, else the CPU.
        context: tokens to be ready for; beyond the training length it switches on dynamic NTK, LogN
            and windows. None follows the file's own flags.
        long_context: picks the methods one by one instead.
        recompute: feed a sequence again whole where it grows past a step of dynamic NTK.
        quantize: "int8" or "int4" for weights of that many bits (`infer.quantise`); rounded once
            and kept in the cache.

    Raises:
        UserError: one line if the directory is no model, is unfinished, or its files are wrong.
    """
    directory = find_model(path)
    change = _find_adapter(directory, None if adapter is None else find_model(adapter))
    checkpoint = change.base if change else read_checkpoint(directory)
    if context is not None and context < 1:
        raise UserError(f"context must be at least 1 token, got {context}")
    where = pick_device(device)
    kind = dtype if isinstance(dtype, torch.dtype) else pick_dtype(dtype, where)
    own = change.directory if change else directory
    tokenizer = _load_tokenizer(own) or _load_tokenizer(checkpoint.directory)
    if quantize is not None and quantize not in KINDS:
        raise UserError(f"quantize is one of {', '.join(KINDS)}, got {quantize!r}")
    if quantize is not None and change is None and where.type == "cpu":
        model = load_quantised(checkpoint, quantize, dtype=kind)
    else:
        model = (change or checkpoint).load_model(dtype=kind, device=where)
        if quantize is not None:
            apply_quantisation(model, quantize)
    fuse(model)
    named = _attach(model, checkpoint, adapters or {})
    return LanguageModel(
        model,
        tokenizer,
        long_context=_choose_methods(checkpoint, context, long_context, recompute=recompute),
        context=context or checkpoint.context,
        stop_ids=checkpoint.stop_ids,
        adapters=named,
    )


def _attach(
    model: Decoder, checkpoint: Checkpoint, directories: Mapping[str, str | Path]
) -> Adapters:
    """Put named adapters beside a model that is ready to run."""
    found = {}
    for name, given in directories.items():
        directory = find_model(given)
        if not is_adapter(directory):
            raise UserError(f"{directory} is no adapter: it has no {ADAPTER_CONFIG}")
        found[name] = read_adapter(directory, checkpoint.directory)
    adapters = attach(model, found)
    if isinstance(model.layers, FusedStack):
        model.layers.adapters = adapters
    return adapters


def _find_adapter(directory: Path, adapter: Path | None) -> Adapter | None:
    """Return the adapter that is meant: one folded into a model, or a directory that is one."""
    if adapter is None:
        return read_adapter(directory) if is_adapter(directory) else None
    if not is_adapter(adapter):
        raise UserError(f"{adapter} is no adapter: it has no {ADAPTER_CONFIG}")
    if is_adapter(directory):
        raise UserError(f"{directory} is an adapter itself; merge it first: openqwen merge")
    return read_adapter(adapter, directory)


def _choose_methods(
    checkpoint: Checkpoint,
    context: int | None,
    long_context: LongContext | None,
    *,
    recompute: bool,
) -> LongContext:
    methods = checkpoint.long_context
    if long_context is not None:
        methods = long_context
    elif context is not None:
        methods = plan_long_context(checkpoint.config, context)
    if recompute and not methods.ntk:
        raise UserError(
            "recompute follows the steps of dynamic NTK, which is off here: give a context beyond "
            f"the training length of {checkpoint.config.train_length:,} tokens"
        )
    return replace(methods, recompute=methods.recompute or recompute)


def _load_tokenizer(directory: Path) -> Tokenizer | None:
    """Return a directory's or GGUF file's tokenizer, or None where no vocabulary is there."""
    return Tokenizer.from_file(directory) if has_vocabulary(directory) else None
