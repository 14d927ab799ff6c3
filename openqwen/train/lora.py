"""What a fine-tuning run with adapters starts from and leaves behind.

    start = open_start("chat", config.lora, body, dtype=torch.bfloat16, device=device, seed=0)
    ...                                           # train start.model
    save_adapter(out, start, trainer.state())

The body may be a model, which gets new adapters, or an adapter directory, which is trained on. The
frozen base is loaded in the type it computes in; what is trained has float32 masters.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.log import say
from openqwen.model.adapters import TrainedRows, add_lora, train_embeddings
from openqwen.model.backbone import Backbone
from openqwen.model.decoder import Decoder
from openqwen.model.formats.adapter import Adapter, is_adapter, read_adapter
from openqwen.model.formats.checkpoint import Checkpoint
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.write_adapter import write_adapter
from openqwen.tokenizer.files import has_vocabulary
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.control_rows import judge_control_rows
from openqwen.train.disk import telling_full_disk
from openqwen.train.sft_config import LoraConfig

MASTER = "master."  # how an optimiser's state names the float32 values


@dataclass(frozen=True)
class Start:
    """A model ready to be trained; `base` is what its adapters change, None without adapters."""

    model: Decoder
    tokenizer: Tokenizer
    base: Checkpoint | None


def open_start(
    label: str,
    config: LoraConfig,
    body: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
) -> Start:
    """Load what fine-tuning starts from.

    Args:
        label: the stage's name, opens each line.
        config: rank 0 trains all weights; otherwise adapters, and perhaps embeddings.
        body: a model directory, or an adapter directory whose adapters are trained on.
        dtype: what the model will compute in.
        device: where it goes.
        seed: of new adapters.

    Raises:
        UserError: if the settings and what the body holds contradict each other.
    """
    tokenizer = tokenizer_of(body)
    if is_adapter(body):
        adapter = read_adapter(body)
        _check(config, adapter)
        model = adapter.load_trainable(dtype=dtype, device=device)
        modules = sorted({name.rsplit(".", 1)[1] for name in adapter.factors})
        say(f"{label:<14}goes on with the adapters of {body}: {', '.join(modules)}")
        if not adapter.rows and config.train_embeddings in ("always", "tokens"):
            _add_embeddings(label, config, model, tokenizer, body)
        return Start(model, tokenizer, adapter.base)
    checkpoint = read_checkpoint(body)
    if not config.rank:
        return Start(
            checkpoint.load_model(dtype=torch.float32, device=device), tokenizer, base=None
        )
    model = checkpoint.load_model(dtype=dtype, device=device)
    add_adapters(label, config, model, tokenizer, body, seed=seed)
    return Start(model, tokenizer, checkpoint)


def add_adapters(
    label: str,
    config: LoraConfig,
    model: Backbone,
    tokenizer: Tokenizer,
    body: Path,
    *,
    seed: int,
) -> None:
    """Freeze a model and give it new adapters, and trained embeddings where it needs them.

    Args:
        label: the stage's name, opens each line.
        config: rank above 0.
        model: changed in place; its outputs stay the same.
        tokenizer: its own.
        body: the directory it comes from, for what its manifest says.
        seed: of the adapters.
    """
    add_lora(model, rank=config.rank, alpha=config.alpha, targets=config.targets, seed=seed)
    _add_embeddings(label, config, model, tokenizer, body)


def save_adapter(out: Path, start: Start, state: dict[str, Tensor]) -> None:
    """Write the adapter directory of a trained start, its tokenizer included.

    Args:
        out: the directory.
        start: what was trained.
        state: its optimiser's, whose masters are written where there are some.
    """
    assert start.base is not None, "all weights were trained: there is no adapter"
    masters = {
        name.removeprefix(MASTER): tensor
        for name, tensor in state.items()
        if name.startswith(MASTER)
    }
    fix = "; the last checkpoint stays: make room and run the same command again"
    with telling_full_disk(f"the adapter into {out} was not written", out, then=fix):
        write_adapter(out, start.model, base=start.base, masters=masters)
        start.tokenizer.save(out)


def tokenizer_of(body: Path) -> Tokenizer:
    """Return the tokenizer of a model or an adapter directory; an adapter's may be its base's."""
    if is_adapter(body) and not has_vocabulary(body):
        return Tokenizer.from_file(read_adapter(body).base.directory)
    return Tokenizer.from_file(body)


def _add_embeddings(
    label: str, config: LoraConfig, model: Backbone, tokenizer: Tokenizer, body: Path
) -> None:
    """Train embedding and projection where that is asked for or needed; say what and why."""
    ids = (tokenizer.im_start_id, tokenizer.im_end_id)
    if config.train_embeddings == "never":
        return
    if config.train_embeddings == "tokens":
        train_embeddings(model, ids)
        say(f"{label:<14}the rows of ChatML's two tokens are trained beside the adapters, as set")
        return
    if config.train_embeddings == "always":
        train_embeddings(model)
        say(f"{label:<14}embeddings are trained beside the adapters, as set")
        return
    are_new, why = judge_control_rows(model.embed_tokens.weight, tokenizer, body)
    if are_new:
        train_embeddings(model)
    done = "are trained, too" if are_new else "stay as they are"
    say(f"{label:<14}embeddings {done}: {why} (lora.train_embeddings decides)")


def _check(config: LoraConfig, adapter: Adapter) -> None:
    """Refuse settings that the adapter contradicts, rather than ignore them."""
    settings = adapter.settings
    if (config.rank, config.alpha) != (settings.rank, settings.alpha):
        raise UserError(
            f"{adapter.directory} has adapters of rank {settings.rank} and alpha {settings.alpha:g}"
            f", the settings ask for lora.rank = {config.rank} and lora.alpha = {config.alpha:g}: "
            "give its own to go on with it, or merge it first (openqwen merge) for new ones"
        )
    kinds = {"whole" if rows.ids is None else "tokens" for rows in adapter.rows.values()}
    wanted = {"never": set(), "tokens": {"tokens"}, "always": {"whole"}}
    if kinds and kinds != wanted.get(config.train_embeddings, kinds):
        raise UserError(
            f"{adapter.directory} has trained embeddings ({', '.join(sorted(kinds))}), which "
            f"lora.train_embeddings = {config.train_embeddings} contradicts: set it to auto"
        )


def trained_rows(model: Decoder) -> int:
    """Return how many rows of the embedding are trained beside the adapters."""
    embedding = model.embed_tokens
    if isinstance(embedding, TrainedRows):
        return len(embedding.rows_N)
    return len(embedding.weight) if embedding.weight.requires_grad else 0
