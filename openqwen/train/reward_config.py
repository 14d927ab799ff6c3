"""Settings of the preference model and the reward model; light to import."""

from openqwen.core.config import setting
from openqwen.train.config import EpochsConfig
from openqwen.train.sft_config import LoraConfig


class RewardConfig(EpochsConfig):
    """Pairwise training of a model that scores answers (§3.2.1)."""

    paths: tuple[str, ...] = setting(
        (), "your own preference pairs: JSON, JSON Lines or Parquet, beside the run's"
    )
    validation_share: float = setting(0.15, "share of the prompts held out", ge=0, lt=1)
    max_tokens: int = setting(2048, "tokens of a conversation", source="§3.2.1", ge=16)
    num_steps: int = setting(0, "optimiser steps; 0: num_epochs decides", ge=0)
    num_epochs: float = setting(
        1.0, "passes over the pairs; 0: num_steps decides", source="§3.2.1", ge=0
    )
    pairs_per_step: int = setting(64, "pairs a step", source="§3.2.1", ge=1)
    micro_pairs: int = setting(4, "pairs a forward pass; the rest is accumulated", ge=1)
    learning_rate: float = setting(3e-6, "learning rate", source="§3.2.1", gt=0)
    schedule: str = setting(
        "constant",
        "after the warm-up: constant or cosine",
        source="§3.2.1",
        pattern="^(cosine|constant)$",
    )
    warmup_steps: int = setting(0, "steps of linear warm-up (the report names none)", ge=0)
    center_coefficient: float = setting(
        0.0, "weight of the squared mean of both scores, which keeps them around 0", ge=0
    )
    lora: LoraConfig = setting(
        LoraConfig(), "low-rank adapters and the head instead of all weights; merged at the end"
    )


class PreferenceConfig(RewardConfig):
    """Preference-model pretraining (PMP): many pairs of a rougher kind first (§3.2.1)."""

    num_comparisons: int = setting(
        20_000, "pairs made from the run's conversations, held-out ones among them", ge=20
    )
