"""Settings of training: what every kind shares, and pretraining; light to import."""

from typing import ClassVar, Self

from pydantic import model_validator

from openqwen.core.config import Config, setting
from openqwen.parallel.config import ParallelConfig
from openqwen.train.checkpoint_config import CheckpointsConfig
from openqwen.train.guard_config import GuardConfig
from openqwen.train.tracking_config import TrackingConfig


class TrainingConfig(Config):
    """AdamW, its schedule, the compute type and the calendar: shared by all kinds of training."""

    num_steps: int = setting(600_000, "optimiser steps (2.4 T tokens at 4 M)", source="§2.4", ge=1)
    learning_rate: float = setting(3e-4, "peak learning rate", source="Table 1", gt=0)
    schedule: str = setting(
        "cosine",
        "after the warm-up: cosine (down to final_learning_rate_share) or constant",
        source="§2.4",
        pattern="^(cosine|constant)$",
    )
    final_learning_rate_share: float = setting(
        0.1, "share of the peak that the cosine ends at", source="§2.4", ge=0, le=1
    )
    warmup_steps: int = setting(2000, "steps of linear warm-up", source="memo", ge=0)
    beta1: float = setting(0.9, "AdamW β₁", source="§2.4", ge=0, lt=1)
    beta2: float = setting(0.95, "AdamW β₂", source="§2.4", ge=0, lt=1)
    epsilon: float = setting(1e-8, "AdamW ε (the memo has 1e-6)", source="§2.4", gt=0)
    weight_decay: float = setting(
        0.1, "decay of the matrices; none of norms and biases", source="memo", ge=0
    )
    clip_norm: float = setting(1.0, "largest norm of the whole gradient", source="memo", gt=0)
    dtype: str = setting(
        "auto",
        "compute type; masters stay float32; auto: bfloat16 where the processor multiplies it",
        source="§2.4",
        pattern="^(auto|bfloat16|float32)$",
    )
    log_every_steps: int = setting(10, "steps between metric rows", ge=1)
    evaluate_every_steps: int = setting(1000, "steps between validations", ge=1)
    checkpoint_every_steps: int = setting(1000, "steps between checkpoints", ge=1)
    keep_checkpoints: int = setting(2, "newest checkpoints kept while training", ge=1)
    statistics_every_steps: int = setting(
        0, "steps between rows of weight, update and activation sizes; 0: none", ge=0
    )
    checkpoints: CheckpointsConfig = setting(
        CheckpointsConfig(), "checkpoints kept for good, and how they are written"
    )
    guard: GuardConfig = setting(GuardConfig(), "what is done about losses that jump")
    parallel: ParallelConfig = setting(ParallelConfig(), "mesh of ranks, recompute, compile")
    tracking: TrackingConfig = setting(TrackingConfig(), "where metrics go, and a profiler trace")

    how_only: ClassVar[frozenset[str]] = frozenset(
        ("statistics_every_steps", "checkpoints", "parallel", "tracking")
    )

    @model_validator(mode="after")
    def _best_is_measured(self) -> Self:
        if self.checkpoints.best_measure and (
            self.checkpoint_every_steps % self.evaluate_every_steps
        ):
            raise ValueError(
                f"checkpoint_every_steps = {self.checkpoint_every_steps} must be a multiple of "
                f"evaluate_every_steps = {self.evaluate_every_steps}, so that "
                "checkpoints.best_measure is known of every checkpoint"
            )
        return self


class EpochsConfig(TrainingConfig):
    """Training whose length is given in steps or in passes over the data, one of the two."""

    num_epochs: float = setting(0.0, "passes over the data; 0: num_steps decides", ge=0)

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if (self.num_steps == 0) == (self.num_epochs == 0):
            raise ValueError(
                f"num_steps = {self.num_steps} and num_epochs = {self.num_epochs}: set one of the "
                "two and leave the other 0"
            )
        return self


class ModelShape(Config):
    """The decoder's size; what the tokenizer and the shards decide is not repeated here."""

    hidden_size: int = setting(2048, "width of the residual stream", source="Table 1, 1.8B", ge=8)
    num_hidden_layers: int = setting(24, "decoder layers", source="Table 1, 1.8B", ge=1)
    num_attention_heads: int = setting(16, "attention heads", source="Table 1, 1.8B", ge=1)
    rope_theta: float = setting(10_000.0, "base of the rotary frequencies", source="code", gt=1)
    rms_norm_eps: float = setting(1e-6, "epsilon of RMSNorm", source="code", gt=0)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "ModelShape":
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size = {self.hidden_size} can't be split into num_attention_heads = "
                f"{self.num_attention_heads} heads of an even size"
            )
        return self


class NextTokenConfig(TrainingConfig):
    """Next-token prediction on windows of token shards."""

    sequences_per_step: int = setting(2048, "sequences a step (4 M tokens)", source="Table 1", ge=1)
    micro_sequences: int = setting(8, "sequences a forward pass; the rest is accumulated", ge=1)
    evaluation_tokens: int = setting(65_536, "validation tokens a group, at most", ge=1)

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.sequences_per_step % self.micro_sequences:
            raise ValueError(
                f"micro_sequences = {self.micro_sequences} must divide sequences_per_step = "
                f"{self.sequences_per_step}"
            )
        return self


class PretrainConfig(NextTokenConfig):
    """Next-token prediction from random weights (§2.4)."""

    model: ModelShape = setting(ModelShape(), "the decoder's size")


class CodeConfig(NextTokenConfig):
    """The base goes on with code and text at a longer context (§4)."""

    num_steps: int = setting(22_500, "optimiser steps (90 B tokens at 4 M)", source="§4", ge=1)
    sequences_per_step: int = setting(512, "sequences a step (4 M tokens at 8,192)", ge=1)
    learning_rate: float = setting(3e-5, "peak learning rate (14B: 6e-5)", source="§4", gt=0)
    schedule: str = setting(
        "constant",
        "after the warm-up: constant or cosine",
        source="§4",
        pattern="^(cosine|constant)$",
    )
    warmup_steps: int = setting(675, "steps of linear warm-up: 3 %", source="§4", ge=0)
    context_multiple: int = setting(
        4, "context length, as a multiple of the base's (2,048 to 8,192)", source="§4", ge=1
    )
    code_share: float = setting(0.7, "share of code in the tokens; the rest is text", gt=0, lt=1)
    max_epochs: float = setting(
        4.0, "passes over the code at most; the steps must not need more", gt=0
    )
