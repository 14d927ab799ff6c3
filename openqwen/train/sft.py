"""Supervised fine-tuning: conversations in, an export directory or an adapter out (§3.1, §4, §5).

    counts = fine_tune("chat", config, body, rounds, validation, out, seed=0, lineage_hash="…")

The loss counts the assistant's tokens only, divided by their number in the whole step, so that
packed, unpacked and accumulated steps are equal. Several rounds (§4) follow each other in one run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.log import say
from openqwen.core.runtime import pick_device, pick_dtype, set_determinism
from openqwen.core.seeds import generator_for
from openqwen.core.workers import Workers
from openqwen.data.training.packing import Encoded, PackedBatch, PackedBatches
from openqwen.model.config import count_parameters
from openqwen.model.decoder import Decoder
from openqwen.model.layers import Dropout
from openqwen.model.likelihood import IGNORED
from openqwen.train.engine import open_optimiser
from openqwen.train.guard import Guard
from openqwen.train.loop import LoopSettings, calendar_of, run_loop
from openqwen.train.lora import open_start, save_adapter
from openqwen.train.pretrain import export
from openqwen.train.schedule import learning_rate_at
from openqwen.train.sft_config import SFTConfig
from openqwen.train.statistics import activation_statistics
from openqwen.train.step import next_token_loss, optimise
from openqwen.train.throughput import flops_per_token, measure_peak

DROPOUT_PURPOSE = 17  # keeps its draws apart from those that order the data


@dataclass(frozen=True)
class Round:
    """One round of fine-tuning: its conversations and the steps spent on them."""

    batches: PackedBatches
    num_steps: int


class SFTTrainer:
    """Next-token loss on the assistant's tokens of packed conversations."""

    stop_reason = ""

    def __init__(
        self,
        config: SFTConfig,
        model: Decoder,
        rounds: Sequence[Round],
        validation: dict[str, Encoded],
        *,
        seed: int,
        dtype: torch.dtype,
        workers: Workers,
    ) -> None:
        """Take a float32 model on its device; it computes in `dtype` from here on."""
        self.config, self.model, self.rounds, self.workers = config, model, rounds, workers
        self.seed = seed
        self.device = model.device
        self.guard = Guard(config.guard)
        self.optimiser = open_optimiser(model, config, compute_dtype=dtype)
        self.tokens_per_step = config.sequences_per_step * config.row_length
        self.num_steps = sum(r.num_steps for r in rounds)
        self.validation = {
            name: PackedBatches(
                encoded,
                context_length=config.row_length,
                sequences_per_step=config.micro_sequences,
                seed=seed,
            ).epoch_batches()
            for name, encoded in validation.items()
            if len(encoded)
        }

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Take one optimiser step on the conversations that belong to its number."""
        batch = self._batch(step)
        num_learnt = (batch.targets_BT != IGNORED).sum()
        size = self.config.micro_sequences

        def loss_of(start: int) -> tuple[Tensor, Tensor]:
            rows = slice(start, start + size)
            generator = generator_for(self.seed, DROPOUT_PURPOSE, step, start)
            nll = next_token_loss(
                self.model,
                batch.inputs_BT[rows].to(self.device),
                batch.targets_BT[rows].to(self.device),
                segments_BT=batch.segments_BT[rows].to(self.device),
                dropout=Dropout(self.config.dropout, generator) if self.config.dropout else None,
            )
            return nll / num_learnt, nll.detach()

        learning_rate = learning_rate_at(step, self.config, num_steps=self.num_steps)
        losses, norm = optimise(
            self.optimiser,
            loss_of,
            range(0, len(batch.inputs_BT), size),
            learning_rate=learning_rate,
            workers=self.workers,
            accept=lambda kept, norm: self.guard.accepts(
                torch.stack(kept).sum() / num_learnt, norm
            ),
        )
        loss = torch.stack(losses).sum() / num_learnt
        return {"loss": loss, "learning_rate": learning_rate, "gradient_norm": norm}

    def evaluate(self) -> dict[str, Any]:
        """Return loss (nats a learnt token) of each group of held-out conversations."""
        groups = {}
        workers = self.optimiser.spread(self.workers)
        for name, batches in self.validation.items():
            sums = list(workers.map(partial(_measure, self.model), batches))
            num_learnt = sum(count for _, count in sums)
            groups[name] = {
                "loss": round(sum(loss for loss, _ in sums) / num_learnt, 6),
                "tokens": num_learnt,
                "conversations": sum(_count_segments(batch) for batch in batches),
            }
        return {"groups": groups}

    def documents(self, step: int) -> list[str]:
        """Return the ids of a step's conversations."""
        batches, place = self._round(step)
        return batches.documents(place)

    def activations(self, step: int) -> dict[str, dict[str, float]]:
        """Measure the residual stream on a step's first micro-batch."""
        batch, rows = self._batch(step), slice(0, self.config.micro_sequences)
        inputs_BT = batch.inputs_BT[rows].to(self.device)
        segments_BT = batch.segments_BT[rows].to(self.device)
        return activation_statistics(
            self.model,
            lambda: self.model.hidden(inputs_BT, segments_BT=segments_BT),
            self.optimiser.spread(self.workers),
        )

    def state(self) -> dict[str, Tensor]:
        """Return masters and moments."""
        return self.optimiser.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over masters and moments."""
        self.optimiser.load_state(tensors)

    def _batch(self, step: int) -> PackedBatch:
        batches, place = self._round(step)
        return batches.batch(place)

    def _round(self, step: int) -> tuple[PackedBatches, int]:
        """Return the batches of the round that a step belongs to, and its place there."""
        for this in self.rounds:
            if step < this.num_steps:
                return this.batches, step
            step -= this.num_steps
        raise AssertionError("a step past the last round")


@torch.no_grad()
def _measure(model: Decoder, batch: PackedBatch) -> tuple[float, int]:
    device = model.device
    nll = next_token_loss(
        model,
        batch.inputs_BT.to(device),
        batch.targets_BT.to(device),
        segments_BT=batch.segments_BT.to(device),
    )
    return float(nll), int((batch.targets_BT != IGNORED).sum())


def _count_segments(batch: PackedBatch) -> int:
    return int((batch.segments_BT.max(1).values + 1).sum())


def rounds_of(
    config: SFTConfig, parts: Sequence[tuple[Encoded, float]], *, seed: int
) -> list[Round]:
    """Return the rounds of a run: each part's conversations, and its share of the steps.

    Args:
        config: steps or epochs, and how sequences are made.
        parts: conversations and share of the steps (of the epochs' steps, where epochs decide).
        seed: order of the conversations.

    Raises:
        UserError: if a part holds nothing that could be learnt.
    """
    rounds = []
    for number, (encoded, share) in enumerate(parts):
        if not len(encoded):
            raise UserError(
                "no conversation is left to learn from: their first answers begin after "
                f"context_length = {config.context_length} tokens, or there are none"
            )
        batches = PackedBatches(
            encoded,
            context_length=config.row_length,
            sequences_per_step=config.sequences_per_step,
            seed=seed + number,
            pack=config.packing,
        )
        total = float(config.num_steps)
        if config.num_epochs:
            total = config.num_epochs * batches.rows_per_epoch / config.sequences_per_step
        rounds.append(Round(batches, max(1, round(total * share))))
    return rounds


def fine_tune(
    label: str,
    config: SFTConfig,
    body: Path,
    parts: Sequence[tuple[Encoded, float]],
    validation: dict[str, Encoded],
    out: Path,
    *,
    seed: int,
    lineage_hash: str,
) -> dict[str, Any]:
    """Fine-tune a model directory and leave an export (or an adapter) in `out`; resumes.

    Args:
        label: the stage's name, opens each line.
        config: the settings.
        body: an export directory to start from, or an adapter's to go on with.
        parts: the rounds' conversations with their shares of the steps.
        validation: held-out conversations by group.
        out: the stage's directory.
        seed: order of the data and dropout.
        lineage_hash: identity of this stage, written into the export.

    Returns:
        Counts for the manifest.
    """
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    set_determinism(seed)
    start = open_start(label, config.lora, body, dtype=dtype, device=device, seed=seed)
    model = start.model.train()
    rounds = rounds_of(config, parts, seed=seed)
    with Workers(0 if device.type == "cpu" else 1) as workers:
        trainer = SFTTrainer(
            config, model, rounds, validation, seed=seed, dtype=dtype, workers=workers
        )
        _announce(label, trainer, dtype)
        calendar = _calendar(trainer, dtype)
        before = trainer.evaluate()["groups"]
        final = run_loop(label, trainer, calendar, out)
    if start.base is not None:
        save_adapter(out, start, trainer.state())
    else:
        export(out, model, start.tokenizer, dtype=dtype, lineage_hash=lineage_hash)
    return _counts(trainer, dtype) | {
        "before": before,
        "validation": final["groups"],
        "flops_per_token": calendar.flops_per_token,
        "peak_flops_per_s": round(calendar.peak_flops_per_s),
    }


def _calendar(trainer: SFTTrainer, dtype: torch.dtype) -> LoopSettings:
    """Measure the peak and return when things happen.

    A token counts all weights but the output projection, which only learnt tokens pass through.
    """
    config, shape = trainer.config, trainer.model.config
    rows = config.micro_sequences * config.row_length
    peak = measure_peak(shape, num_tokens=rows, dtype=dtype, workers=trainer.workers)
    whole = flops_per_token(shape, config.context_length)
    body = flops_per_token(shape, config.context_length, has_vocabulary=False)
    batches = trainer.rounds[0].batches
    learnt = batches.encoded.learnt_tokens / (batches.rows_per_epoch * config.row_length)
    return calendar_of(
        config,
        num_steps=trainer.num_steps,
        flops_per_token=round(body + learnt * (whole - body)),
        peak_flops_per_s=peak.flops_per_s,
    )


def _announce(label: str, trainer: SFTTrainer, dtype: torch.dtype) -> None:
    trained = sum(p.numel() for p in trainer.optimiser.parameters)
    conversations = sum(len(r.batches.encoded) for r in trainer.rounds)
    learnt = sum(r.batches.encoded.learnt_tokens for r in trainer.rounds)
    say(
        f"{label:<14}{conversations:,} conversations, {learnt:,} learnt tokens, "
        f"{trainer.num_steps:,} steps of {trainer.tokens_per_step:,} tokens, {trained:,} trained "
        f"parameters, {str(dtype).removeprefix('torch.')}"
    )


def _counts(trainer: SFTTrainer, dtype: torch.dtype) -> dict[str, Any]:
    encoded = [r.batches.encoded for r in trainer.rounds]
    rows = [r.batches.rows_per_epoch for r in trainer.rounds]
    taken = [r.num_steps * trainer.config.sequences_per_step for r in trainer.rounds]
    return {
        "parameters": count_parameters(trainer.model.config),
        "trained_parameters": sum(p.numel() for p in trainer.optimiser.parameters),
        "steps": trainer.num_steps,
        "tokens": trainer.num_steps * trainer.tokens_per_step,
        "learnt_tokens": sum(e.learnt_tokens for e in encoded),
        "padding_share": round(max(r.batches.padding_share for r in trainer.rounds), 4),
        "cut_conversations": sum(e.num_cut for e in encoded),
        "dropped_conversations": sum(e.num_dropped for e in encoded),
        "context_length": trainer.config.context_length,
        "epochs": [round(t / r, 2) for t, r in zip(taken, rows, strict=True)],
        "dtype": str(dtype).removeprefix("torch."),
    }
