"""The four trainers on models of two layers and a few texts, for tests of what they share."""

import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from openqwen.core.config import parse_config
from openqwen.core.workers import Workers
from openqwen.data.training.loader import TokenWindows
from openqwen.data.training.packing import Encoded, PackedBatches
from openqwen.data.training.preferences import Pair
from openqwen.data.training.shards import INDEX_SCHEMA, read_shard
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.scorer import scorer_from
from openqwen.train.config import PretrainConfig
from openqwen.train.loop import calendar_of, run_loop
from openqwen.train.ppo import PPOTrainer
from openqwen.train.ppo_batch import Models
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.pretrain import PretrainTrainer
from openqwen.train.reward import EncodedPair, RewardTrainer
from openqwen.train.reward_config import RewardConfig
from openqwen.train.rollout import Vocabulary
from openqwen.train.sft import Round, SFTTrainer
from openqwen.train.sft_config import SFTConfig

SHAPE = qwen_config(
    hidden_size=64, num_attention_heads=2, num_hidden_layers=2, vocab_size=64, train_length=16
)
CALENDAR = {
    "num_steps": 8,
    "warmup_steps": 2,
    "learning_rate": 3e-3,
    "epsilon": 1e-3,  # with 1e-8 Adam turns rounding of near-zero gradients into whole steps
    "log_every_steps": 1,
    "evaluate_every_steps": 2,
    "checkpoint_every_steps": 2,
    "tracking": {"trackers": []},
}


def write_shards(directory, *, documents=60, length=21):
    """Write both splits: documents of `length` tokens, which follow each other cyclically."""
    draw = np.random.default_rng(0)
    for split in ("train", "validation"):
        starts = draw.integers(0, 64, documents)
        tokens = (starts[:, None] + np.arange(length)) % 64
        np.save(directory / f"{split}.npy", tokens.flatten().astype(np.uint16))
        rows = [
            {"id": f"{split}-{i}", "group": "en", "start": i * length, "tokens": length, "bytes": 1}
            for i in range(documents)
        ]
        pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), directory / f"{split}.parquet")
    np.save(directory / "token_bytes.npy", np.ones(64, dtype=np.int32))
    return directory


def pretrainer(shards, *, count=1, dtype=torch.float32, kind=PretrainTrainer, **settings):
    plain = CALENDAR | {"sequences_per_step": 8, "micro_sequences": 4, "evaluation_tokens": 160}
    config = parse_config(PretrainConfig, plain | settings, where="test")
    train = read_shard(shards, "train")
    windows = TokenWindows(train.tokens_N, context_length=16, seed=3, spans=train.spans)
    model = new_decoder(SHAPE, seed=1)
    return kind(config, model, shards, windows, dtype=dtype, workers=Workers(count))


def conversations(count=20):
    draw = np.random.default_rng(1)
    lengths = draw.integers(5, 16, count)
    ids = draw.integers(0, 64, lengths.sum()).astype(np.int32)
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    names = tuple(f"talk-{i}" for i in range(count))
    return Encoded(ids, draw.random(len(ids)) < 0.5, offsets, 0, 0, names)


def tuner(*, count=1, pack=True, dtype=torch.float32, **settings):
    plain = CALENDAR | {"context_length": 16, "sequences_per_step": 4, "micro_sequences": 2}
    config = parse_config(SFTConfig, plain | {"dropout": 0.1} | settings, where="test")
    encoded = conversations()
    batches = PackedBatches(
        encoded,
        context_length=16,
        sequences_per_step=config.sequences_per_step,
        seed=0,
        pack=pack,
    )
    rounds = [Round(batches, config.num_steps)]
    model = new_decoder(SHAPE, seed=1)
    held_out = {"held-out": conversations(5)}
    return SFTTrainer(config, model, rounds, held_out, seed=0, dtype=dtype, workers=Workers(count))


def scorer(*, count=1, dtype=torch.float32, **settings):
    plain = CALENDAR | {"num_epochs": 0.0, "pairs_per_step": 4, "micro_pairs": 2}
    config = parse_config(RewardConfig, plain | settings, where="test")
    draw = np.random.default_rng(2)
    pairs = []
    for i in range(12):
        pair = Pair(f"pair-{i}", "made", [], "a", "b")
        chosen, rejected = (draw.integers(0, 64, draw.integers(4, 14)).tolist() for _ in range(2))
        pairs.append(EncodedPair(pair, chosen, rejected))
    model = scorer_from(new_decoder(SHAPE, seed=0), seed=0)
    return RewardTrainer(
        config, model, pairs, pairs[:4], seed=0, dtype=dtype, workers=Workers(count)
    )


def reinforcer(*, count=1, dtype=torch.float32, **settings):
    plain = CALENDAR | {
        "value_learning_rate": 3e-3,
        "value_warmup_steps": 1,
        "queries_per_step": 4,
        "max_prompt_tokens": 8,
        "max_new_tokens": 5,
        "micro_responses": 2,
        "num_minibatches": 2,
        "pretraining_coefficient": 0.0,
    }
    config = parse_config(PPOConfig, plain | settings, where="test")
    policy = new_decoder(SHAPE, seed=1)
    reward = scorer_from(new_decoder(SHAPE, seed=2), seed=3)
    models = Models(policy, copy.deepcopy(reward), copy.deepcopy(policy), reward)
    return PPOTrainer(
        config,
        models,
        [[1, i, 2] for i in range(4, 12)],
        [[1, 3, 2], [1, 13, 2]],
        windows=None,
        vocabulary=Vocabulary(torch.ones(64, dtype=torch.bool), (40,), 40),
        seed=11,
        dtype=dtype,
        workers=Workers(count),
    )


def run(trainer, out, **calendar):
    """Run to the end; return the last validation."""
    with trainer.workers:
        return run_loop("base", trainer, calendar_of(trainer.config, **calendar), out)


def state_of(trainer):
    return {name: tensor.detach().clone() for name, tensor in trainer.state().items()}


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def steady(out):
    """The metric rows without what differs from run to run."""
    text = (out / "metrics.jsonl").read_text().splitlines()
    return [line.split(', "tokens_per_s"')[0] for line in text]
