"""A model from one published layout into another: weights tensor by tensor, tokenizer, stop ids.

    convert(Path("Qwen-7B-Chat"), Path("qwen-7b-qwen2"), to="qwen2")
    convert(Path("qwen-7b-qwen2"), Path("qwen-7b.gguf"), to="gguf", kind="q8_0")

The weights keep their type unless another is asked for, and then every bit. What the new layout has
no place for is said in one line each. No model is built: memory stays far below the weights' size.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from openqwen.core.errors import UserError
from openqwen.core.files import TEMPORARY_SUFFIX, empty_directory, flush_directory, write_json
from openqwen.core.gguf import TensorType
from openqwen.core.gguf_writer import write_gguf
from openqwen.core.log import format_bytes, say
from openqwen.model.config import count_parameters
from openqwen.model.formats.adapter import is_adapter
from openqwen.model.formats.card import write_model_card
from openqwen.model.formats.checkpoint import (
    CONFIG_NAME,
    GENERATION_NAME,
    Checkpoint,
    read_object,
)
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.parts import gguf_parts, qwen1_parts, qwen2_parts
from openqwen.model.formats.regroup import Regrouped
from openqwen.model.formats.stream import has_quantised, main_type, plan_types, write_shards
from openqwen.model.formats.write_gguf import FALLBACK, gguf_shape, gguf_tensors, main_kind
from openqwen.model.formats.write_qwen1 import (
    check_qwen1,
    qwen1_config,
    qwen1_generation,
    unsaid_in_qwen1,
)
from openqwen.model.formats.write_qwen2 import qwen2_config, qwen2_generation, unsaid_in_qwen2
from openqwen.tokenizer.carried import Carried, add_carried, read_carried
from openqwen.tokenizer.control import END_OF_TEXT, IM_END
from openqwen.tokenizer.files import has_vocabulary
from openqwen.tokenizer.template import chat_template
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import Vocabulary
from openqwen.tokenizer.write_gguf import gguf_vocabulary, unsaid_in_gguf
from openqwen.tokenizer.write_qwen1 import (
    check_qwen1_vocabulary,
    unsaid_in_qwen1_ranks,
    write_qwen1_vocabulary,
)

Layout = Literal["qwen1", "qwen2", "openqwen", "gguf"]
Kind = Literal["f32", "f16", "bf16", "q8_0"]
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")
# how the model's makers want it sampled; handed on as it is
SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")


@dataclass(frozen=True)
class _Source:
    """All that is read of a model before its weights."""

    path: Path
    checkpoint: Checkpoint
    tokenizer: Tokenizer | None
    carried: Carried
    generation: dict[str, Any]

    @property
    def eos_id(self) -> int | None:
        """Return the id that ends a document."""
        ids = self.checkpoint.stop_ids
        controls = self.tokenizer.control_tokens if self.tokenizer else {}
        return controls.get(END_OF_TEXT, ids[0] if ids else None)

    @property
    def stop_ids(self) -> list[int]:
        """Return every id that ends a reply, those of ChatML included."""
        chatml = self.tokenizer.stop_ids if self.tokenizer else ()
        return sorted({*self.checkpoint.stop_ids, *chatml})

    @property
    def is_chat(self) -> bool:
        """Return whether the files say that the model was trained to chat in ChatML."""
        im_end = self.tokenizer.control_tokens.get(IM_END) if self.tokenizer else None
        is_chatml = self.generation.get("chat_format") == "chatml"
        return im_end is not None and (is_chatml or im_end in self.checkpoint.stop_ids)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Return the tokenizer as data; None where there is none."""
        t = self.tokenizer
        return None if t is None else Vocabulary(t.ranks, t.control_tokens, t.pattern, t.nfc)


def convert(source: Path, out: Path, *, to: Layout, kind: Kind | None = None) -> None:
    """Write a model in another layout; nothing is left behind where that fails.

    Args:
        source: anything `read_checkpoint` reads: a directory or a GGUF file.
        out: a new or empty directory; a new file for `to="gguf"`.
        to: the layout.
        kind: type of the matrices; None keeps each tensor's own, bfloat16 for quantised ones.

    Raises:
        UserError: one line if the source can't be read, or the layout can't say the model.
    """
    if to not in get_args(Layout) or kind not in (None, *get_args(Kind)):
        raise UserError(
            f"layouts are {', '.join(get_args(Layout))}; types {', '.join(get_args(Kind))}"
        )
    if kind == "q8_0" and to != "gguf":
        raise UserError(f"q8_0 is a type of GGUF files; {to} takes f32, f16 or bf16")
    _check_target(out, is_file=to == "gguf")
    model = _read_source(source)
    if model.tokenizer is None:
        say(f"{source} has no tokenizer: {out} will have none")
    if to == "gguf":
        written = _write_gguf_file(model, out, kind)
    else:
        with _whole_directory(out) as temporary:
            written = _write_directory(model, temporary, to, kind)
    size = sum(p.stat().st_size for p in (out.rglob("*") if out.is_dir() else [out]) if p.is_file())
    count = count_parameters(model.checkpoint.config)
    say(f"{count:,} parameters, {written}, {format_bytes(size)} written to {out}")


def _check_target(out: Path, *, is_file: bool) -> None:
    if is_file and out.is_dir():
        raise UserError(f"{out} is a directory; name the file, as {out / 'model.gguf'}")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty; name another")


def _read_source(path: Path) -> _Source:
    if is_adapter(path):
        raise UserError(f"{path} is an adapter; fold it into its base first: openqwen merge")
    checkpoint = read_checkpoint(path)
    if checkpoint.is_scorer:
        raise UserError(f"{path} is a reward model; only language models are converted")
    place = checkpoint.directory
    generation = place / GENERATION_NAME
    return _Source(
        place,
        checkpoint,
        Tokenizer.from_file(place) if has_vocabulary(place) else None,
        read_carried(place),
        read_object(generation) if generation.is_file() else {},
    )


def _write_directory(model: _Source, out: Path, to: Layout, kind: Kind | None) -> str:
    """Write weights, tokenizer, settings and licences; return the weights' type in words."""
    checkpoint, vocabulary = model.checkpoint, model.vocabulary
    is_qwen1 = to == "qwen1"
    if is_qwen1:
        check_qwen1(checkpoint.config)
        if vocabulary is not None:
            check_qwen1_vocabulary(vocabulary)
    parts = qwen1_parts(checkpoint.config) if is_qwen1 else qwen2_parts(checkpoint.config)
    weights = Regrouped(checkpoint.open_weights(), checkpoint.parts, parts)
    if kind is None:
        _say_what_becomes_of_quantised(weights)
    plan = plan_types(weights, DTYPES[kind] if kind else None)
    embedding = next(name for name, part in parts.items() if part.parameter.startswith("embed"))
    dtype = str(plan[embedding]).removeprefix("torch.")
    write_shards(out, weights, plan)
    sampling = {key: model.generation[key] for key in SAMPLING if key in model.generation}
    if is_qwen1:
        lines = unsaid_in_qwen1(checkpoint)
        config = qwen1_config(checkpoint, dtype=dtype)
        generation = qwen1_generation(
            checkpoint.config, eos_id=model.eos_id, stop_ids=model.stop_ids, is_chat=model.is_chat
        )
        if vocabulary is not None:
            lines += unsaid_in_qwen1_ranks(vocabulary)
            write_qwen1_vocabulary(out, vocabulary, train_length=checkpoint.config.train_length)
    else:
        lines = unsaid_in_qwen2(checkpoint) if to == "qwen2" else []
        config = qwen2_config(checkpoint, dtype=dtype, eos_id=model.eos_id, own=to == "openqwen")
        generation = qwen2_generation(eos_id=model.eos_id, stop_ids=model.stop_ids)
        if model.tokenizer is not None:
            model.tokenizer.save(out)
    if vocabulary is not None:
        add_carried(out, model.carried)
    _hand_on_papers(model, out, card=to == "openqwen")
    write_json(out / GENERATION_NAME, generation | sampling)
    write_json(out / CONFIG_NAME, config)
    for line in lines:
        say(line)
    return dtype


def _write_gguf_file(model: _Source, out: Path, kind: Kind | None) -> str:
    """Write one file; return the weights' type in words."""
    config, vocabulary = model.checkpoint.config, model.vocabulary
    parts = gguf_parts(config, packed=False)
    weights = Regrouped(model.checkpoint.open_weights(), model.checkpoint.parts, parts)
    if kind is None:
        _say_what_becomes_of_quantised(weights)
    chosen = TensorType[kind.upper()] if kind else main_kind(weights)
    values = gguf_shape(config, out.stem, chosen)
    lines = unsaid_in_qwen2(model.checkpoint, "a GGUF file")
    if vocabulary is None:
        values["tokenizer.ggml.model"] = "no_vocab"
    else:
        values |= gguf_vocabulary(
            vocabulary,
            rows=config.vocab_size,
            chat_template=model.carried.chat_template or chat_template(),
            shown=model.carried.shown,
            is_chat=model.is_chat,
        )
        lines += unsaid_in_gguf(vocabulary)
    tensors = gguf_tensors(weights, config, chosen)
    others = sum(t.type == FALLBACK != chosen for t in tensors)
    if others:
        lines.append(
            f"{others} matrices are {FALLBACK.name}: their rows are no whole blocks of "
            f"{chosen.block_weights} weights, as {chosen.name} needs"
        )
    try:
        write_gguf(out, values, tensors)
    except OverflowError as error:
        raise UserError(
            f"{model.path} has the weight {error}, too large for F16; choose --type bf16"
        ) from None
    for line in lines:
        say(line)
    return chosen.name


def _say_what_becomes_of_quantised(weights: Regrouped) -> None:
    if has_quantised(weights):
        dtype = main_type(weights)
        rounded = "" if dtype == torch.float32 else ", rounded once (--type f32: exact)"
        say(f"quantised weights are written out as {str(dtype).removeprefix('torch.')}{rounded}")


def _hand_on_papers(model: _Source, out: Path, *, card: bool) -> None:
    """Copy licences, which weights must not go without, and write the export's card."""
    papers: list[str] = []
    if model.path.is_dir():
        for pattern in LICENCES:
            for paper in sorted(p for p in model.path.glob(pattern) if p.is_file()):
                shutil.copyfile(paper, out / paper.name)
                papers.append(paper.name)
    if card:
        facts: dict[str, Any] = {
            "name": out.name.removesuffix(TEMPORARY_SUFFIX),
            "about": f"Converted by openqwen from {model.path.name}; the weights are unchanged.",
            "licences": papers or ["those of the model it was converted from"],
        }
        write_model_card(out, facts)


@contextmanager
def _whole_directory(out: Path) -> Iterator[Path]:
    """Yield a sibling that becomes `out` when the block succeeds, and is removed when it fails."""
    temporary = out.with_name(out.name + TEMPORARY_SUFFIX)
    empty_directory(temporary)
    try:
        yield temporary
        temporary.replace(out)
        flush_directory(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
