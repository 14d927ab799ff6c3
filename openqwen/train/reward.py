"""Training a model that scores answers: PMP on many pairs, then the reward model (§3.2.1).

    counts = train_scorer("reward", config, body, pairs, out, seed=0, lineage_hash="…")

Both answers of a pair go through the model together, packed without padding; the score is read at
the end token of each. The loss is divided by the pairs of the whole step.
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
from openqwen.data.training.preferences import Pair, measure_scores, pair_ids
from openqwen.model.adapters import merge_lora
from openqwen.model.config import count_parameters
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.scorer import Scorer, scorer_from
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.engine import Mapper, open_optimiser
from openqwen.train.guard import Guard
from openqwen.train.loop import LoopSettings, calendar_of, run_loop
from openqwen.train.lora import add_adapters
from openqwen.train.pretrain import export
from openqwen.train.reward_config import RewardConfig
from openqwen.train.reward_losses import pairwise_loss
from openqwen.train.schedule import learning_rate_at
from openqwen.train.statistics import activation_statistics
from openqwen.train.step import optimise
from openqwen.train.texts import pack_texts
from openqwen.train.throughput import flops_per_token, measure_peak

ORDER_PURPOSE = 23
PADDING_STEPS = 20  # that the share of padding is measured on


@dataclass(frozen=True)
class EncodedPair:
    """A pair, and both its conversations as ids."""

    pair: Pair
    chosen: list[int]
    rejected: list[int]

    @property
    def size(self) -> int:
        """Return the tokens of both."""
        return len(self.chosen) + len(self.rejected)


def score_texts(scorer: Scorer, texts: Sequence[Sequence[int]]) -> Tensor:
    """Return the score at the last token of each text, (N,) float32; each as if alone."""
    batch = pack_texts(texts)
    hidden_BTD = batch.hidden(scorer)
    device = hidden_BTD.device
    return scorer.read(hidden_BTD[batch.rows.to(device), batch.ends.to(device)])


class RewardTrainer:
    """Pairwise logistic loss on pairs whose order depends on seed and step alone."""

    stop_reason = ""

    def __init__(
        self,
        config: RewardConfig,
        scorer: Scorer,
        train: list[EncodedPair],
        validation: list[EncodedPair],
        *,
        seed: int,
        dtype: torch.dtype,
        workers: Workers,
    ) -> None:
        """Take a float32 scorer on its device; it computes in `dtype` from here on."""
        self.config, self.scorer, self.seed, self.workers = config, scorer, seed, workers
        self.train, self.validation = train, validation
        self.guard = Guard(config.guard)
        self.optimiser = open_optimiser(scorer, config, compute_dtype=dtype)
        self.steps_per_epoch = max(1, len(train) // config.pairs_per_step)
        self.num_steps = config.num_steps or max(1, round(config.num_epochs * self.steps_per_epoch))
        mean = sum(pair.size for pair in train) / len(train)
        self.tokens_per_step = round(mean * min(config.pairs_per_step, len(train)))

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Take one optimiser step on the pairs that belong to its number."""
        pairs = self._pairs(step)
        size = self.config.micro_pairs

        def loss_of(start: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
            part = pairs[start : start + size]
            chosen_P, rejected_P = score_pairs(self.scorer, part)
            loss = pairwise_loss(
                chosen_P, rejected_P, center_coefficient=self.config.center_coefficient
            ) * (len(part) / len(pairs))
            return loss, (loss.detach(), chosen_P.detach(), rejected_P.detach())

        learning_rate = learning_rate_at(step, self.config, num_steps=self.num_steps)
        kept, norm = optimise(
            self.optimiser,
            loss_of,
            range(0, len(pairs), size),
            learning_rate=learning_rate,
            workers=self.workers,
            accept=lambda kept, norm: self.guard.accepts(
                torch.stack([loss for loss, _, _ in kept]).sum(), norm
            ),
        )
        losses, chosen, rejected = zip(*kept, strict=True)
        chosen_P, rejected_P = torch.cat(chosen), torch.cat(rejected)
        return {
            "loss": torch.stack(losses).sum(),
            "accuracy": (chosen_P > rejected_P).float().mean(),
            "margin": (chosen_P - rejected_P).mean(),
            "chosen_score": chosen_P.mean(),
            "rejected_score": rejected_P.mean(),
            "learning_rate": learning_rate,
            "gradient_norm": norm,
        }

    def evaluate(self) -> dict[str, Any]:
        """Return accuracy with its interval on the held-out pairs, whole and by source."""
        workers = self.optimiser.spread(self.workers)
        return measure_pairs(self.scorer, self.validation, workers, self.config.micro_pairs)

    def documents(self, step: int) -> list[str]:
        """Return the ids of a step's pairs."""
        return [encoded.pair.id for encoded in self._pairs(step)]

    def activations(self, step: int) -> dict[str, dict[str, float]]:
        """Measure the residual stream on a step's first micro-batch."""
        pairs = self._pairs(step)[: self.config.micro_pairs]
        mapper = self.optimiser.spread(self.workers)
        return activation_statistics(self.scorer, lambda: score_pairs(self.scorer, pairs), mapper)

    def state(self) -> dict[str, Tensor]:
        """Return masters and moments."""
        return self.optimiser.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over masters and moments."""
        self.optimiser.load_state(tensors)

    def _pairs(self, step: int) -> list[EncodedPair]:
        """Return one step's pairs, the longest first, so that packing wastes little."""
        epoch, place = divmod(step, self.steps_per_epoch)
        generator = generator_for(self.seed, ORDER_PURPOSE, epoch)
        order = torch.randperm(len(self.train), generator=generator).tolist()
        size = self.config.pairs_per_step
        chosen = [self.train[i] for i in order[place * size : (place + 1) * size]]
        return sorted(chosen, key=lambda pair: -pair.size)


def score_pairs(scorer: Scorer, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
    """Return the scores of the better and of the worse answers, (P,) float32 each."""
    texts = [ids for pair in pairs for ids in (pair.chosen, pair.rejected)]
    scores_N = score_texts(scorer, texts)
    return scores_N[0::2], scores_N[1::2]


@torch.no_grad()
def measure_pairs(
    scorer: Scorer, pairs: Sequence[EncodedPair], workers: Mapper, micro_pairs: int
) -> dict[str, Any]:
    """Return accuracy, interval, loss and the control "longer wins" over pairs and by source."""
    ordered = sorted(pairs, key=lambda pair: -pair.size)
    parts = [ordered[i : i + micro_pairs] for i in range(0, len(ordered), micro_pairs)]
    scores = list(workers.map(partial(score_pairs, scorer), parts))
    if not scores:
        return {"n": 0, "by_source": {}}
    chosen_P = torch.cat([chosen for chosen, _ in scores])
    rejected_P = torch.cat([rejected for _, rejected in scores])
    found = _measures(ordered, chosen_P, rejected_P)
    found["by_source"] = {}
    for source in sorted({encoded.pair.source for encoded in ordered}):
        rows = [i for i, encoded in enumerate(ordered) if encoded.pair.source == source]
        found["by_source"][source] = _measures(
            [ordered[i] for i in rows], chosen_P[rows], rejected_P[rows]
        )
    return found


def _measures(pairs: Sequence[EncodedPair], chosen_P: Tensor, rejected_P: Tensor) -> dict[str, Any]:
    found = measure_scores([p.pair for p in pairs], chosen_P.tolist(), rejected_P.tolist())
    return found | {
        "loss": round(float(pairwise_loss(chosen_P, rejected_P)), 4),
        "margin": round(float((chosen_P - rejected_P).mean()), 4),
    }


def train_scorer(
    label: str,
    config: RewardConfig,
    body: Path,
    pairs: Sequence[Pair],
    out: Path,
    *,
    seed: int,
    lineage_hash: str,
) -> dict[str, Any]:
    """Train a scorer from a language model's or a scorer's directory; resumes if killed before.

    Args:
        label: the stage's name, opens each line.
        config: the settings.
        body: an export directory; a scorer's head is kept, a language model gets a fresh one.
        pairs: both splits.
        out: the stage's directory, an export directory afterwards.
        seed: order of the pairs and the head.
        lineage_hash: identity of this stage.

    Returns:
        Counts for the manifest.

    Raises:
        UserError: if there are no pairs to train on.
    """
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    set_determinism(seed)
    tokenizer = Tokenizer.from_file(body)
    encoded = encode_pairs(pairs, tokenizer, config.max_tokens)
    if not encoded["train"]:
        raise UserError(f"{label}: there is no preference pair to train on")
    scorer = load_scorer_body(body, seed=seed, device=device).train()
    if config.lora.rank:
        add_adapters(label, config.lora, scorer, tokenizer, body, seed=seed)
        scorer.score.requires_grad_(True)
    with Workers(0 if device.type == "cpu" else 1) as workers:
        trainer = RewardTrainer(
            config,
            scorer,
            encoded["train"],
            encoded["validation"],
            seed=seed,
            dtype=dtype,
            workers=workers,
        )
        _announce(label, trainer, dtype)
        calendar, before = _calendar(trainer, dtype), trainer.evaluate()
        final = run_loop(label, trainer, calendar, out)
    if config.lora.rank:
        merge_lora(scorer)
    export(out, scorer, tokenizer, dtype=dtype, lineage_hash=lineage_hash)
    return _counts(trainer, dtype) | {
        "before": before,
        "validation": {k: v for k, v in final.items() if k not in ("kind", "step")},
        "flops_per_token": calendar.flops_per_token,
        "peak_flops_per_s": round(calendar.peak_flops_per_s),
    }


def _counts(trainer: RewardTrainer, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "parameters": count_parameters(trainer.scorer.config),
        "trained_parameters": sum(p.numel() for p in trainer.optimiser.parameters),
        "pairs": {"train": len(trainer.train), "validation": len(trainer.validation)},
        "steps": trainer.num_steps,
        "tokens": trainer.num_steps * trainer.tokens_per_step,
        "epochs": round(trainer.num_steps / trainer.steps_per_epoch, 2),
        "padding_share": round(_padding(trainer), 4),
        "max_tokens": trainer.config.max_tokens,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _announce(label: str, trainer: RewardTrainer, dtype: torch.dtype) -> None:
    say(
        f"{label:<14}{len(trainer.train):,} pairs, {len(trainer.validation):,} held out, "
        f"{trainer.num_steps:,} steps of {trainer.config.pairs_per_step} pairs, about "
        f"{trainer.tokens_per_step:,} tokens each, {str(dtype).removeprefix('torch.')}"
    )


def encode_pairs(
    pairs: Sequence[Pair], tokenizer: Tokenizer, max_tokens: int
) -> dict[str, list[EncodedPair]]:
    """Return split -> pairs as ids; pairs that the cut makes equal say nothing and are left out."""
    encoded: dict[str, list[EncodedPair]] = {"train": [], "validation": []}
    for pair in pairs:
        chosen, rejected = pair_ids(pair, tokenizer, max_tokens)
        if chosen != rejected:
            encoded[pair.split].append(EncodedPair(pair, chosen, rejected))
    return encoded


def _calendar(trainer: RewardTrainer, dtype: torch.dtype) -> LoopSettings:
    """Measure the peak and return when things happen."""
    config, shape = trainer.config, trainer.scorer.config
    peak = measure_peak(shape, num_tokens=2048, dtype=dtype, workers=trainer.workers)
    return calendar_of(
        config,
        num_steps=trainer.num_steps,
        flops_per_token=flops_per_token(shape, config.max_tokens, has_vocabulary=False),
        peak_flops_per_s=peak.flops_per_s,
    )


def load_scorer_body(body: Path, *, seed: int, device: torch.device) -> Scorer:
    """Return a float32 scorer from a directory; a language model gets a new head."""
    checkpoint = read_checkpoint(body)
    if checkpoint.is_scorer:
        return checkpoint.load_scorer(dtype=torch.float32, device=device)
    return scorer_from(checkpoint.load_model(dtype=torch.float32, device=device), seed=seed)


def _padding(trainer: RewardTrainer) -> float:
    """Return the share of padding in the packed rows of the first steps."""
    size = trainer.config.micro_pairs
    used = total = 0
    for step in range(min(PADDING_STEPS, trainer.num_steps)):
        pairs = trainer._pairs(step)
        for start in range(0, len(pairs), size):
            part = pairs[start : start + size]
            batch = pack_texts([ids for pair in part for ids in (pair.chosen, pair.rejected)])
            used += sum(pair.size for pair in part)
            total += batch.ids_BT.numel()
    return 1 - used / total
