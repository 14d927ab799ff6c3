"""Pretraining: token shards in, an export directory out (§2.4).

    pretrain(config, shards, tokenizer, out, seed=0, card={…})

`out` becomes an export directory that chat, evaluation and other libraries read, beside
`metrics.jsonl` (loss, speed, validations) and, until it is finished, `scratch/checkpoints/`.
"""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import record_function

from openqwen.core.log import say
from openqwen.core.runtime import is_launched, pick_device, pick_dtype, set_determinism
from openqwen.core.workers import Workers
from openqwen.data.training.loader import TokenWindows
from openqwen.data.training.shards import read_context_length, read_shard
from openqwen.model.config import (
    ModelConfig,
    count_non_embedding_parameters,
    count_parameters,
    qwen_config,
)
from openqwen.model.decoder import Decoder, draw_weights, new_decoder
from openqwen.model.formats.export import describe_export, write_export
from openqwen.model.scorer import Scorer
from openqwen.parallel.mesh import leave_to_first
from openqwen.tokenizer.control import padded_rows
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.config import NextTokenConfig, PretrainConfig
from openqwen.train.disk import telling_full_disk
from openqwen.train.engine import open_optimiser
from openqwen.train.guard import Guard
from openqwen.train.loop import calendar_of, run_loop
from openqwen.train.schedule import learning_rate_at
from openqwen.train.sharded import Weights
from openqwen.train.sharded_export import is_sharded, write_shares
from openqwen.train.statistics import activation_statistics
from openqwen.train.step import next_token_step
from openqwen.train.throughput import Peak, flops_per_token, measure_peak
from openqwen.train.validation import evaluate_groups


class PretrainTrainer:
    """Next-token prediction on shuffled windows of the training shard."""

    stop_reason = ""

    def __init__(
        self,
        config: NextTokenConfig,
        model: Decoder,
        shards: Path,
        windows: TokenWindows,
        *,
        dtype: torch.dtype,
        workers: Workers,
        weights: Weights | None = None,
    ) -> None:
        """Take a float32 model on its device; it computes in `dtype` from here on.

        A model on the meta device comes with its `weights`, as in `open_optimiser`.
        """
        self.config, self.model, self.workers = config, model, workers
        self.windows, self.context_length = windows, windows.context_length
        self.guard = Guard(config.guard)
        self.optimiser = open_optimiser(model, config, compute_dtype=dtype, weights=weights)
        self.device = model.device
        self.validation = read_shard(shards, "validation")
        self.token_bytes_V = torch.from_numpy(
            np.load(shards / "token_bytes.npy", allow_pickle=False)
        )
        self.tokens_per_step = config.sequences_per_step * self.context_length

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Take one optimiser step on the windows that belong to its number."""
        size = self.config.sequences_per_step
        with record_function("data"):
            inputs_BT, targets_BT = self.windows.batch(step * size, size)
            bytes_per_token = float(self.token_bytes_V[targets_BT].sum()) / targets_BT.numel()
        learning_rate = learning_rate_at(step, self.config)
        loss, norm = next_token_step(
            self.model,
            self.optimiser,
            inputs_BT.to(self.device),
            targets_BT.to(self.device),
            micro_sequences=self.config.micro_sequences,
            learning_rate=learning_rate,
            workers=self.workers,
            accept=self.guard.accepts,
        )
        # over all tokens, also the control tokens that have no bytes; validations leave those out
        bits_per_byte = loss / (math.log(2) * max(bytes_per_token, 1e-9))
        return {
            "loss": loss,
            "bits_per_byte": bits_per_byte,
            "learning_rate": learning_rate,
            "gradient_norm": norm,
        }

    def evaluate(self) -> dict[str, Any]:
        """Return loss (nats a token) and bits a byte of each group of the validation shard."""
        return {
            "groups": evaluate_groups(
                self.model,
                self.validation,
                self.token_bytes_V,
                context_length=self.context_length,
                max_tokens=self.config.evaluation_tokens,
                batch_sequences=self.config.micro_sequences,
                workers=self.optimiser.spread(self.workers),
            )
        }

    def documents(self, step: int) -> list[str]:
        """Return the ids of the documents that a step's windows are cut from."""
        size = self.config.sequences_per_step
        return self.windows.documents(step * size, size)

    def activations(self, step: int) -> dict[str, dict[str, float]]:
        """Measure the residual stream on a step's first micro-batch."""
        first = step * self.config.sequences_per_step
        inputs_BT, _ = self.windows.batch(first, self.config.micro_sequences)
        return activation_statistics(
            self.model,
            lambda: self.model.hidden(inputs_BT.to(self.device)),
            self.optimiser.spread(self.workers),
        )

    def state(self) -> dict[str, Tensor]:
        """Return masters and moments."""
        return self.optimiser.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over masters and moments."""
        self.optimiser.load_state(tensors)


def pretrain(
    config: PretrainConfig,
    shards: Path,
    tokenizer: Path,
    out: Path,
    *,
    seed: int,
    lineage_hash: str,
) -> dict[str, Any]:
    """Train from random weights and leave an export directory in `out`; resumes if killed before.

    Args:
        config: model and training settings.
        shards: the shards stage's directory.
        tokenizer: the tokenizer stage's directory; its files are copied into the export.
        out: the stage's directory.
        seed: initial weights and order of the data.
        lineage_hash: identity of this stage, written into the export.

    Returns:
        Counts for the manifest: parameters, tokens, validation measures, speed and peak.
    """
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    set_determinism(seed)
    vocabulary = Tokenizer.from_file(tokenizer)
    context_length = read_context_length(shards)
    shape = model_config(
        config, vocab_size=padded_rows(vocabulary.vocab_size), context_length=context_length
    )
    weights = None
    if is_launched():  # no rank ever holds the model: each takes its shards of what is drawn
        with torch.device("meta"):
            model, names = Decoder(shape), Decoder(shape)
        weights = partial(draw_weights, names, seed=seed)
    else:
        model = new_decoder(shape, seed=seed, device=device)
    train = read_shard(shards, "train")
    windows = TokenWindows(
        train.tokens_N, context_length=context_length, seed=seed, spans=train.spans
    )
    with Workers(0 if device.type == "cpu" else 1) as workers:
        trainer = PretrainTrainer(
            config, model, shards, windows, dtype=dtype, workers=workers, weights=weights
        )
        counts = train_next_token("base", trainer, out, dtype=dtype)
    export(out, model, vocabulary, dtype=dtype, lineage_hash=lineage_hash)
    return counts


def train_next_token(
    label: str, trainer: PretrainTrainer, out: Path, *, dtype: torch.dtype
) -> dict[str, Any]:
    """Measure the peak, run the loop and return what the manifest tells of model and training."""
    config, shape = trainer.config, trainer.model.config
    peak = _announce(label, trainer, dtype)
    settings = calendar_of(
        config,
        flops_per_token=flops_per_token(shape, trainer.context_length),
        peak_flops_per_s=peak.flops_per_s,
    )
    final = run_loop(label, trainer, settings, out)
    windows = config.num_steps * config.sequences_per_step
    return {
        "parameters": count_parameters(shape),
        "non_embedding_parameters": count_non_embedding_parameters(shape),
        "tokens": config.num_steps * trainer.tokens_per_step,
        "context_length": trainer.context_length,
        "epochs": round(windows / trainer.windows.num_windows, 3),
        "dtype": str(dtype).removeprefix("torch."),
        "validation": final["groups"],
        "flops_per_token": settings.flops_per_token,
        "peak_flops_per_s": round(peak.flops_per_s),
        "best_flops_per_s": round(peak.best_flops_per_s),
        "best_shape": list(peak.best_shape),
    }


def export(
    out: Path,
    model: Decoder | Scorer,
    tokenizer: Tokenizer,
    *,
    dtype: torch.dtype,
    lineage_hash: str,
) -> None:
    """Write a trained model's export directory, tokenizer files among them.

    Of a sharded model every rank writes its share; then only the first returns, to do what is
    left of its stage.

    Raises:
        PartDone: on the other ranks.
    """
    fix = "; the last checkpoint stays: make room and run the same command again"
    with telling_full_disk(f"the export into {out} was not written", out, then=fix):
        if is_sharded(model):
            write_shares(out, model, dtype=dtype)
            leave_to_first()
            describe_export(
                out,
                model.config,
                dtype=dtype,
                is_scorer=isinstance(model, Scorer),
                stop_ids=tokenizer.stop_ids,
                eos_id=tokenizer.eos_id,
                lineage_hash=lineage_hash,
            )
        else:
            write_export(
                out,
                model,
                stop_ids=tokenizer.stop_ids,
                eos_id=tokenizer.eos_id,
                lineage_hash=lineage_hash,
            )
        tokenizer.save(out)


def model_config(config: PretrainConfig, *, vocab_size: int, context_length: int) -> ModelConfig:
    """Return the decoder's full configuration; `vocab_size` in rows, padded."""
    shape = config.model
    plain = qwen_config(
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_attention_heads,
        num_hidden_layers=shape.num_hidden_layers,
        vocab_size=vocab_size,
        train_length=context_length,
    )
    return plain.model_copy(
        update={"rope_theta": shape.rope_theta, "rms_norm_eps": shape.rms_norm_eps}
    )


def _announce(label: str, trainer: PretrainTrainer, dtype: torch.dtype) -> Peak:
    """Measure the peak and say what is about to be trained, on what, for how long."""
    config, shape = trainer.config, trainer.model.config
    peak = measure_peak(
        shape,
        num_tokens=config.micro_sequences * trainer.context_length,
        dtype=dtype,
        workers=trainer.workers,
    )
    say(
        f"{label:<14}{count_parameters(shape):,} parameters "
        f"({count_non_embedding_parameters(shape):,} outside the embeddings), "
        f"{config.num_steps:,} steps of {trainer.tokens_per_step:,} tokens, "
        f"{str(dtype).removeprefix('torch.')} with float32 masters, {trainer.device}"
    )
    say(
        f"{label:<14}matrix products reach {peak.flops_per_s / 1e12:.2f} TFLOP/s here "
        f"(best shape {peak.best_flops_per_s / 1e12:.2f})"
    )
    return peak
