"""Continued pretraining on code and text at a longer context (§4).

    counts = continue_pretraining(config, base, shards, out, seed=0, lineage_hash="…")

The code documents of the shards and as much text as the share asks for are shuffled into one stream
and cut to the longer context; the model's training length becomes that context.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openqwen.core.errors import UserError
from openqwen.core.runtime import pick_device, pick_dtype, set_determinism
from openqwen.core.workers import Workers
from openqwen.data.training.loader import TokenWindows
from openqwen.data.training.shards import TokenShard, read_shard
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.config import CodeConfig
from openqwen.train.pretrain import PretrainTrainer, export, train_next_token
from openqwen.train.validation import evaluate_groups

CODE = "code"
OTHERS = ("instructions",)  # neither code nor running text


def continue_pretraining(
    config: CodeConfig, base: Path, shards: Path, out: Path, *, seed: int, lineage_hash: str
) -> dict[str, Any]:
    """Train a base on code and text and leave an export directory in `out`; resumes.

    Returns:
        Counts for the manifest; `before` holds the base's measures on the same held-out documents,
        each at the context it was trained on.

    Raises:
        UserError: if the shards hold too little code for the steps asked for.
    """
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    set_determinism(seed)
    tokenizer = Tokenizer.from_file(base)
    model = read_checkpoint(base).load_model(dtype=torch.float32, device=device).train()
    own_context = model.config.train_length
    context_length = own_context * config.context_multiple
    mixed, mixture = mix_tokens(read_shard(shards, "train"), config.code_share, seed=seed)
    tokens_N = mixed.tokens_N
    windows = TokenWindows(tokens_N, context_length=context_length, seed=seed, spans=mixed.spans)
    epochs = config.num_steps * config.sequences_per_step / windows.num_windows
    if epochs > config.max_epochs:
        raise UserError(
            f"code: {config.num_steps} steps pass {epochs:.1f} times over the {len(tokens_N):,} "
            f"tokens of code and text; lower code.num_steps or raise code.max_epochs"
        )
    with Workers(0 if device.type == "cpu" else 1) as workers:
        # the masters keep float32; before is measured in the type it will compute in
        trainer = PretrainTrainer(config, model, shards, windows, dtype=dtype, workers=workers)
        before = evaluate_groups(
            model,
            trainer.validation,
            trainer.token_bytes_V,
            context_length=own_context,
            max_tokens=config.evaluation_tokens,
            batch_sequences=config.micro_sequences,
            workers=trainer.optimiser.spread(workers),
        )
        model.config = model.config.model_copy(update={"train_length": context_length})
        counts = train_next_token(CODE, trainer, out, dtype=dtype)
    export(out, model, tokenizer, dtype=dtype, lineage_hash=lineage_hash)
    return counts | {"before": before, "before_context": own_context, "mixture": mixture}


def mix_tokens(
    shard: TokenShard, code_share: float, *, seed: int
) -> tuple[TokenShard, dict[str, int]]:
    """Return all code and as much text as the share leaves room for, documents shuffled.

    Returns:
        The documents in a row, and how many tokens of each group are among them.

    Raises:
        UserError: if there is no code.
    """
    spans = [span for span in shard.spans if span.group not in OTHERS]
    order = np.random.default_rng([seed, 4]).permutation(len(spans))
    code_tokens = sum(span.tokens for span in spans if span.group == CODE)
    if not code_tokens:
        raise UserError("the shards hold no code: give sources of Python files")
    room = code_tokens * (1 - code_share) / code_share
    taken, placed, start, counts = [], [], 0, {CODE: 0}
    for place in order:
        span = spans[int(place)]
        if span.group != CODE:
            if room <= 0:
                continue
            room -= span.tokens
        taken.append(shard.document(span))
        placed.append(replace(span, start=start))
        start += span.tokens
        counts[span.group] = counts.get(span.group, 0) + span.tokens
    return TokenShard(np.concatenate(taken), placed), counts
