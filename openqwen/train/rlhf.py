"""From an SFT model and a reward model to an RLHF model: loads, runs PPO, exports (§3.2.2).

counts = reinforce("chat-rlhf", config, policy, reward, queries, held_out, out, shards=shards, …)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from openqwen.core.documents import Message
from openqwen.core.errors import UserError
from openqwen.core.log import say
from openqwen.core.runtime import pick_device, pick_dtype, set_determinism
from openqwen.core.workers import Workers
from openqwen.data.training.loader import TokenWindows
from openqwen.data.training.shards import read_context_length, read_shard
from openqwen.model.config import count_parameters
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.loop import calendar_of, run_loop
from openqwen.train.ppo import PPOTrainer
from openqwen.train.ppo_batch import Models, RewardFunction
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.pretrain import export
from openqwen.train.reward import load_scorer_body
from openqwen.train.rollout import vocabulary_of


def reinforce(
    label: str,
    config: PPOConfig,
    policy: Path,
    reward: Path,
    queries: Sequence[Sequence[Message]],
    held_out: Sequence[Sequence[Message]],
    out: Path,
    *,
    shards: Path | None,
    seed: int,
    lineage_hash: str,
    reward_function: RewardFunction | None = None,
) -> dict[str, Any]:
    """Run PPO; leave the policy's export in `out`, the value model's in `out/value`, return counts.

    Args:
        label: the stage's name, opens each line.
        config: the settings; `seed` is of all draws, `lineage_hash` the stage's identity.
        policy: the SFT model's directory, also the reference.
        reward: the reward model's directory; the value model starts from it.
        queries: conversations that wait for an answer; only `evaluate` answers `held_out`.
        out: the stage's directory.
        shards: pretraining text for the pretraining-gradient term; None where it is off.
        reward_function: scores in the reward model's place.

    Raises:
        UserError: if no query is short enough, or the pretraining term has no text.
    """
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    set_determinism(seed)
    tokenizer = Tokenizer.from_file(policy)
    windows = _pretraining_text(label, config, shards, seed=seed)
    prompts, held = (
        encode_queries(some, tokenizer, config.max_prompt_tokens) for some in (queries, held_out)
    )
    if not prompts:
        raise UserError(
            f"{label}: all {len(queries)} queries exceed chat_rlhf.max_prompt_tokens = "
            f"{config.max_prompt_tokens}"
        )
    models = _load_models(policy, reward, reward_function, seed=seed, dtype=dtype, device=device)
    with Workers(0 if device.type == "cpu" else 1) as workers:
        trainer = PPOTrainer(
            config,
            models,
            prompts,
            held[: config.evaluation_prompts],
            windows=windows,
            vocabulary=vocabulary_of(tokenizer, models.policy.config.vocab_size),
            seed=seed,
            dtype=dtype,
            workers=workers,
        )
        _announce(label, trainer)
        final = run_loop(label, trainer, calendar_of(config, note=_note), out)
    export(out, models.policy, tokenizer, dtype=dtype, lineage_hash=lineage_hash)
    export(out / "value", models.value, tokenizer, dtype=dtype, lineage_hash=lineage_hash)
    return _counts(trainer, dtype, final) | {"left_out": len(queries) - len(prompts)}


def _counts(trainer: PPOTrainer, dtype: torch.dtype, final: dict[str, Any]) -> dict[str, Any]:
    return {
        "parameters": count_parameters(trainer.models.policy.config),
        "queries": len(trainer.prompts),
        "held_out": len(trainer.held_out),
        "iterations": final["step"],
        "responses": trainer.num_responses * final["step"],
        "stop_reason": trainer.stop_reason,
        "validation": {k: v for k, v in final.items() if k not in ("kind", "step")},
        "dtype": str(dtype).removeprefix("torch."),
    }


def _announce(label: str, trainer: PPOTrainer) -> None:
    config = trainer.config
    say(
        f"{label:<14}{len(trainer.prompts):,} queries, {len(trainer.held_out):,} held out, "
        f"{config.num_steps:,} iterations of {trainer.num_responses} responses, the first "
        f"{config.value_warmup_steps} for the value model alone"
    )


def _pretraining_text(
    label: str, config: PPOConfig, shards: Path | None, *, seed: int
) -> TokenWindows | None:
    """Return windows of pretraining text, None where the term is off."""
    if not config.pretraining_coefficient:
        return None
    if shards is None:
        raise UserError(
            f"{label}: the pretraining-gradient term needs token shards; give them, or set "
            "chat_rlhf.pretraining_coefficient=0"
        )
    tokens_N = read_shard(shards, "train").tokens_N
    return TokenWindows(tokens_N, context_length=read_context_length(shards), seed=seed + 1)


def _load_models(
    policy: Path,
    reward: Path,
    reward_function: RewardFunction | None,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Models:
    """Load the four: what is trained in float32, what is only asked in the compute type."""
    checkpoint = read_checkpoint(policy)
    return Models(
        checkpoint.load_model(dtype=torch.float32, device=device).train(),
        load_scorer_body(reward, seed=seed, device=device).train(),
        checkpoint.load_model(dtype=dtype, device=device),
        reward_function or read_checkpoint(reward).load_scorer(dtype=dtype, device=device),
    )


def encode_queries(
    queries: Sequence[Sequence[Message]], tokenizer: Tokenizer, max_tokens: int
) -> list[list[int]]:
    """Return the ids of conversations that wait for an answer, those that are short enough."""
    found = [render(query, tokenizer, add_generation_prompt=True).ids for query in queries]
    return [ids for ids in found if len(ids) <= max_tokens]


def _note(row: dict[str, float]) -> str:
    return (
        f"score {row['score']:.3f}   KL {row['kl_response']:.2f} nats a response   "
        f"{row['length']:.0f} tokens"
    )
