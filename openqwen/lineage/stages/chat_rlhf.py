"""The chat-rlhf stage: PPO from the chat model, then a comparison of both (§3.2.2)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from openqwen.core.documents import Message
from openqwen.core.files import write_json
from openqwen.core.log import say
from openqwen.core.runtime import pick_device, pick_dtype
from openqwen.core.seeds import seed_of
from openqwen.core.workers import Workers
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.conversations import (
    Conversation,
    conversations_of,
    first_question,
    read_conversations,
)
from openqwen.data.training.prompt_sampler import sample_prompts
from openqwen.eval.win_rate import WinRate, win_rate
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.ppo_batch import score_responses
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.rlhf import encode_queries, reinforce
from openqwen.train.rollout import Rollouts, sample_responses, vocabulary_of

NUM_SAMPLES = 8
COMPARISON = 47  # purpose of the seeds


def run(work: StageWork) -> dict[str, Any]:
    """Draw queries, run PPO, and compare the result with the chat model on held-out queries."""
    config = work.config
    assert isinstance(config, PPOConfig)
    conversations = _conversations(work, config)
    wanted = config.num_steps * config.queries_per_step
    queries, account = sample_prompts(_questions(conversations, "train"), wanted, seed=work.seed)
    held_out = _questions(conversations, "validation")
    lineage_hash = work.lineage_hash("chat-rlhf")
    counts = reinforce(
        "chat-rlhf",
        config,
        work.inputs["chat"],
        work.inputs["reward"],
        queries,
        held_out,
        work.out,
        shards=work.inputs.get("shards"),
        seed=work.seed,
        lineage_hash=lineage_hash,
    )
    counts |= {"lineage_hash": lineage_hash, "query_tags": account}
    names: tuple[str, ...] = ("reward", "preference")
    judges = {name: work.inputs[name] for name in names if name in work.inputs}
    write_json(work.out / "evaluation.json", _compare(work, config, held_out, judges))
    tuning.write_card(
        work,
        counts,
        name="chat RLHF",
        about="A chat model after PPO against a reward model (§3.2.2), by openqwen.",
    )
    return counts


def _conversations(work: StageWork, config: PPOConfig) -> list[Conversation]:
    """Return the conversations whose first questions are the queries."""
    paths = [Path(path).expanduser() for path in config.paths]
    set_aside = SetAside()
    found = list(
        read_conversations(paths, set_aside=set_aside, seed=work.seed, validation_share=0.2)
    )
    if set_aside.counts:
        say(f"{'chat-rlhf':<14}{set_aside.summary()}")
    if "documents" in work.inputs:
        found += conversations_of(work.inputs["documents"])
    return found


def _questions(conversations: Sequence[Conversation], split: str) -> list[list[Message]]:
    return [first_question(c) for c in conversations if c.split == split]


def _compare(
    work: StageWork, config: PPOConfig, held_out: list[list[Message]], judges: dict[str, Path]
) -> dict[str, Any]:
    """Answer held-out queries with both models and let each judge score the answers."""
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    tokenizer = Tokenizer.from_file(work.out)
    short = [
        (query, ids)
        for query in held_out
        for ids in encode_queries([query], tokenizer, config.max_prompt_tokens)
    ][: config.evaluation_prompts]
    if not short:
        return {"n": 0}
    kept, prompts = map(list, zip(*short, strict=True))
    with Workers(0 if device.type == "cpu" else 1) as workers:
        answers: dict[str, Rollouts] = {}
        for name, directory in (("sft", work.inputs["chat"]), ("rlhf", work.out)):
            model = read_checkpoint(directory).load_model(dtype=dtype, device=device)
            answers[name] = sample_responses(
                model,
                prompts,
                seeds=[seed_of(work.seed, COMPARISON, i) for i in range(len(prompts))],
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                vocabulary=vocabulary_of(tokenizer, model.config.vocab_size),
                workers=workers,
            )
        scores = {
            judge: _score(directory, prompts, answers, tokenizer, dtype, device, workers)
            for judge, directory in judges.items()
        }
    compared = {judge: win_rate(own["rlhf"], own["sft"]) for judge, own in scores.items()}
    _say(compared)
    main = scores["reward"]
    write_json(work.out / "samples.json", _samples(kept, answers, main, tokenizer))
    return {
        "n": len(prompts),
        "seed": work.seed,
        "judges": {judge: result.as_json() for judge, result in compared.items()},
        "mean_score": {
            judge: {name: sum(values) / len(values) for name, values in own.items()}
            for judge, own in scores.items()
        },
        "mean_length": {
            name: sum(map(len, a.responses)) / len(prompts) for name, a in answers.items()
        },
        "ended": {name: sum(a.ended) / len(prompts) for name, a in answers.items()},
    }


def _score(
    judge: Path,
    prompts: list[list[int]],
    answers: dict[str, Rollouts],
    tokenizer: Tokenizer,
    dtype: torch.dtype,
    device: torch.device,
    workers: Workers,
) -> dict[str, list[float]]:
    scorer = read_checkpoint(judge).load_scorer(dtype=dtype, device=device)
    score = partial(
        score_responses,
        scorer,
        prompts,
        end_id=tokenizer.im_end_id,
        micro_responses=8,
        workers=workers,
    )
    return {name: score(rollouts).tolist() for name, rollouts in answers.items()}


def _say(compared: dict[str, WinRate]) -> None:
    names = {"reward": "reward model it learnt from", "preference": "preference model"}
    for judge, result in compared.items():
        sentence = result.sentence("RLHF", "SFT")
        say(f"{'chat-rlhf':<14}judged by the {names[judge]}: {sentence}")


def _samples(
    queries: list[list[Message]],
    answers: dict[str, Rollouts],
    scores: dict[str, list[float]],
    tokenizer: Tokenizer,
) -> list[dict[str, Any]]:
    stops = set(tokenizer.stop_ids)
    rows = []
    for i, query in enumerate(queries[:NUM_SAMPLES]):
        texts = {
            name: tokenizer.decode([t for t in a.responses[i] if t not in stops])
            for name, a in answers.items()
        }
        rows.append(
            {
                "group": "held out",
                "prompt": query[-1]["content"],
                "before": texts["sft"],
                "text": texts["rlhf"],
                "score_before": round(scores["sft"][i], 3),
                "score": round(scores["rlhf"][i], 3),
            }
        )
    return rows
