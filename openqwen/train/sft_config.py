"""Settings of supervised fine-tuning (chat, code-chat, math-chat); light to import."""

from typing import Self

from pydantic import model_validator

from openqwen.core.config import Config, setting
from openqwen.tokenizer.template import DEFAULT_SYSTEM
from openqwen.train.config import EpochsConfig


class LoraConfig(Config):
    """Low-rank adapters in place of whole matrices (Hu et al. 2021; not in the report)."""

    rank: int = setting(0, "rank of each adapter; 0 trains all weights", ge=0)
    alpha: float = setting(32.0, "an adapter's product is scaled by alpha / rank", gt=0)
    targets: tuple[str, ...] = setting(
        ("qkv", "out", "gate_up", "down"), "the matrices of each layer that get one", min_length=1
    )
    train_embeddings: str = setting(
        "auto",
        "embedding and projection beside the adapters: always, never, tokens (only the rows of "
        "ChatML's tokens) or auto (where those tokens look untrained)",
        pattern="^(auto|always|never|tokens)$",
    )


class SFTConfig(EpochsConfig):
    """Next-token loss on the assistant's tokens of conversations (§3.1)."""

    paths: tuple[str, ...] = setting(
        (), "your own conversations: JSON, JSON Lines or Parquet files, or folders of them"
    )
    validation_share: float = setting(
        0.03, "share of your own conversations that is held out", ge=0, lt=1
    )
    context_length: int = setting(2048, "tokens of a conversation at most", source="§3.1", ge=8)
    contexts_per_row: int = setting(
        1, "context lengths a packed row has room for; more waste less on padding", ge=1
    )
    num_steps: int = setting(4000, "optimiser steps; 0: num_epochs decides", source="§3.1", ge=0)
    sequences_per_step: int = setting(128, "packed rows a step", source="§3.1", ge=1)
    micro_sequences: int = setting(4, "rows a forward pass; the rest is accumulated", ge=1)
    learning_rate: float = setting(2e-6, "peak learning rate", source="§3.1", gt=0)
    schedule: str = setting(
        "constant",
        "after the warm-up: constant (the report names no decay) or cosine",
        pattern="^(cosine|constant)$",
    )
    warmup_steps: int = setting(1430, "steps of linear warm-up", source="§3.1", ge=0)
    weight_decay: float = setting(0.1, "decay of the matrices", source="§3.1", ge=0)
    dropout: float = setting(
        0.1,
        "share of embeddings and residual additions dropped (not of attention weights: the fast "
        "kernel refuses it)",
        source="§3.1",
        ge=0,
        lt=1,
    )
    packing: bool = setting(True, "several conversations a row, unseen by each other")
    default_system: str = setting(
        DEFAULT_SYSTEM, "system prompt of conversations that have none; empty for none"
    )
    lora: LoraConfig = setting(LoraConfig(), "low-rank adapters instead of whole matrices")

    @property
    def row_length(self) -> int:
        """Return the tokens of a packed row."""
        return self.context_length * self.contexts_per_row

    @model_validator(mode="after")
    def _rows_divide(self) -> Self:
        if self.sequences_per_step % self.micro_sequences:
            raise ValueError(
                f"micro_sequences = {self.micro_sequences} must divide sequences_per_step = "
                f"{self.sequences_per_step}"
            )
        return self


class CodeChatConfig(SFTConfig):
    """Several rounds of fine-tuning on code (§4): many tasks first, then fewer and better ones."""

    context_length: int = setting(8192, "tokens of a conversation at most", source="§4", ge=8)
    learning_rate: float = setting(1e-5, "peak learning rate (14B: 2e-6)", source="§4", gt=0)
    warmup_steps: int = setting(120, "steps of linear warm-up: 3 %", source="§4", ge=0)
    second_round_share: float = setting(
        0.3, "share of the steps spent on the second round's tasks", ge=0, lt=1
    )
    evaluation_tasks: int = setting(
        32, "held-out tasks whose replies are checked to be Python; 0 leaves it out", ge=0
    )


class MathChatConfig(SFTConfig):
    """Fine-tuning on arithmetic and word problems (§5)."""

    context_length: int = setting(1024, "tokens of a conversation at most", source="§5", ge=8)
    num_steps: int = setting(50_000, "optimiser steps; 0: num_epochs decides", source="§5", ge=0)
    learning_rate: float = setting(2e-5, "peak learning rate", source="§5", gt=0)
    num_problems: int = setting(20_000, "problems made, held-out ones among them", ge=10)
    evaluation_problems: int = setting(200, "held-out problems answered before and after", ge=1)
