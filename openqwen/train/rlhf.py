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
from openqwen.data.loader import TokenWindows
from openqwen.data.shards import read_context_length, read_shard
from openqwen.model.config import count_parameters
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.loop import LoopSettings, run_loop
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
    """Run PPO and leave the policy's export in `out` and the value model's in `out/value`.

    Args:
        label: the stage's name, opens each line.
        config: the settings.
        policy: the SFT model's directory, also the reference.
        reward: the reward model's directory; the value model starts from it.
        queries: conversations that wait for an answer.
        held_out: those that only `evaluate` answers.
        out: the stage's directory.
        shards: pretraining text for the pretraining-gradient term; None where it is off.
        seed: of all draws.
        lineage_hash: identity of this stage.
        reward_function: scores in the reward model's place; the value model still starts from it.

    Returns:
        Counts for the manifest.

    Raises:
        UserError: if no query is short enough, or the pretraining term has no text.
    """
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    set_determinism(seed)
    tokenizer = Tokenizer.from_file(policy)
    if config.pretraining_coefficient and shards is None:
        raise UserError(
            f"{label}: the pretraining-gradient term needs token shards; give them, or set "
            "chat_rlhf.pretraining_coefficient=0"
        )
    prompts = encode_queries(queries, tokenizer, config.max_prompt_tokens)
    held = encode_queries(held_out, tokenizer, config.max_prompt_tokens)
    held = held[: config.evaluation_prompts]
    if not prompts:
        raise UserError(
            f"{label}: none of {len(queries)} queries has at most chat_rlhf.max_prompt_tokens = "
            f"{config.max_prompt_tokens} tokens"
        )
    checkpoint = read_checkpoint(policy)
    models = Models(
        checkpoint.load_model(dtype=torch.float32, device=device).train(),
        load_scorer_body(reward, seed=seed, device=device).train(),
        checkpoint.load_model(dtype=dtype, device=device),
        reward_function or read_checkpoint(reward).load_scorer(dtype=dtype, device=device),
    )
    windows = None
    if config.pretraining_coefficient and shards is not None:
        tokens_N = read_shard(shards, "train").tokens_N
        windows = TokenWindows(tokens_N, context_length=read_context_length(shards), seed=seed + 1)
    with Workers(0 if device.type == "cpu" else 1) as workers:
        trainer = PPOTrainer(
            config,
            models,
            prompts,
            held,
            windows=windows,
            vocabulary=vocabulary_of(tokenizer, checkpoint.config.vocab_size),
            seed=seed,
            dtype=dtype,
            workers=workers,
        )
        say(
            f"{label:<14}{len(prompts):,} queries, {len(held):,} held out, {config.num_steps:,} "
            f"iterations of {trainer.num_responses} responses, the first "
            f"{config.value_warmup_steps} for the value model alone"
        )
        final = run_loop(label, trainer, _calendar(config), out)
    export(out, models.policy, tokenizer, lineage_hash=lineage_hash)
    export(out / "value", models.value, tokenizer, lineage_hash=lineage_hash)
    return {
        "parameters": count_parameters(checkpoint.config),
        "queries": len(prompts),
        "held_out": len(held),
        "left_out_queries": len(queries) - len(prompts),
        "responses": trainer.num_responses * config.num_steps,
        "stop_reason": trainer.stop_reason,
        "dtype": str(dtype).removeprefix("torch."),
        "validation": {k: v for k, v in final.items() if k not in ("kind", "step")},
    }


def encode_queries(
    queries: Sequence[Sequence[Message]], tokenizer: Tokenizer, max_tokens: int
) -> list[list[int]]:
    """Return the ids of conversations that wait for an answer, those that are short enough."""
    found = [render(query, tokenizer, add_generation_prompt=True).ids for query in queries]
    return [ids for ids in found if len(ids) <= max_tokens]


def _calendar(config: PPOConfig) -> LoopSettings:
    return LoopSettings(
        num_steps=config.num_steps,
        log_every=config.log_every_steps,
        evaluate_every=config.evaluate_every_steps,
        checkpoint_every=config.checkpoint_every_steps,
        keep_checkpoints=config.keep_checkpoints,
        flops_per_token=0.0,
        peak_flops_per_s=1.0,
        note=_note,
    )


def _note(row: dict[str, float]) -> str:
    return (
        f"score {row['score']:.3f}   KL {row['kl_response']:.2f} nats a response   "
        f"{row['length']:.0f} tokens"
    )
