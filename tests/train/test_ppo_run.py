"""A whole PPO run from directories to a directory, and the task with a known answer."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.core.workers import Workers
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.scorer import scorer_from
from openqwen.tokenizer.control import padded_rows
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.pretrain import export
from openqwen.train.rlhf import reinforce

CONFIG = PPOConfig(
    num_steps=2,
    value_warmup_steps=1,
    queries_per_step=2,
    max_prompt_tokens=120,
    max_new_tokens=6,
    learning_rate=1e-3,
    num_minibatches=1,
    pretraining_coefficient=0.0,
    dtype="float32",
    log_every_steps=1,
)
QUERIES = [[{"role": "user", "content": text}] for text in ("Hello?", "What is 2 + 2?", "你好")]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Directories of an untrained policy and an untrained reward model."""
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})
    shape = qwen_config(
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=padded_rows(tokenizer.vocab_size),
        train_length=128,
    )
    root = tmp_path_factory.mktemp("models")
    policy = new_decoder(shape, seed=0)
    export(root / "policy", policy, tokenizer, dtype=torch.float32, lineage_hash="policy")
    scorer = scorer_from(policy, seed=1)
    export(root / "reward", scorer, tokenizer, dtype=torch.float32, lineage_hash="reward")
    return root


def go(models, out, *, queries=QUERIES, **changes):
    return reinforce(
        "toy",
        CONFIG.model_copy(update=changes),
        models / "policy",
        models / "reward",
        queries,
        QUERIES[:2],
        out,
        shards=None,
        seed=3,
        lineage_hash="toy",
    )


def test_a_run_leaves_a_policy_a_value_model_and_its_numbers(models, tmp_path):
    counts = go(models, tmp_path)
    before = read_checkpoint(models / "policy").load_model()
    after = read_checkpoint(tmp_path)
    assert after.lineage_hash == "toy"
    assert not torch.equal(before.lm_head.weight, after.load_model().lm_head.weight)
    assert read_checkpoint(tmp_path / "value").load_scorer().score.weight.shape == (1, 16)
    assert Tokenizer.from_file(tmp_path).vocab_size == 256 + 208
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["train", "train", "validation"]
    named = {"reward", "score", "kl_k1", "kl_k3", "kl_response", "entropy", "length", "kept_mass"}
    named |= {"no_end_share", "explained_variance", "running_mean", "repetition", "flags"}
    named |= {"policy_loss", "policy_clip_fraction", "value_loss", "value_clip_fraction"}
    named |= {"gradient_norm", "value_gradient_norm", "learning_rate", "ratio_max", "loss"}
    assert named <= rows[1].keys()
    assert 0 < rows[1]["kept_mass"] <= 1
    assert counts["queries"] == 3
    assert counts["held_out"] == counts["validation"]["n"] == 2
    assert counts["stop_reason"] == ""


def test_a_query_that_is_too_long_is_left_out_and_counted(models, tmp_path):
    long = [{"role": "user", "content": "x" * 200}]
    counts = go(models, tmp_path, queries=[*QUERIES, long])
    assert (counts["queries"], counts["left_out"]) == (3, 1)
    with pytest.raises(UserError, match=r"all 1 queries exceed chat_rlhf.max_prompt_tokens = 120"):
        go(models, tmp_path / "none", queries=[long])


def test_a_run_that_ends_early_counts_the_iterations_it_made_and_says_why(models, tmp_path):
    changes = {"num_steps": 5, "value_warmup_steps": 0, "kl_bound": 1e-6, "stop_on_flag": True}
    counts = go(models, tmp_path, **changes)
    assert counts["stop_reason"].startswith("iteration 2: KL")
    assert (counts["iterations"], counts["responses"]) == (2, 8)
    assert read_checkpoint(tmp_path).lineage_hash == "toy"


def test_the_pretraining_term_asks_for_shards(models, tmp_path):
    with pytest.raises(UserError, match="needs token shards"):
        go(models, tmp_path, pretraining_coefficient=0.05)


def test_the_verb_trains_compares_with_sft_and_is_done_when_asked_again(models, tmp_path, capsys):
    mine = tmp_path / "mine.jsonl"
    turns = [
        [
            {"role": "user", "content": f"What is {i}?"},
            {"role": "assistant", "content": "A number."},
        ]
        for i in range(30)
    ]
    mine.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))
    out = tmp_path / "out"
    arguments = ["ppo", str(models / "policy"), "--reward", str(models / "reward")]
    arguments += ["--data", str(mine), "--out", str(out)]
    for change in ("num_steps=2", "queries_per_step=2", "max_new_tokens=6"):
        arguments += ["--set", f"chat_rlhf.{change}"]
    assert main(arguments) == 0
    evaluation = json.loads((out / "evaluation.json").read_text())
    judged = evaluation["judges"]["reward"]
    assert judged["wins"] + judged["ties"] + judged["losses"] == evaluation["n"] > 0
    samples = json.loads((out / "samples.json").read_text())
    assert samples[0].keys() >= {"prompt", "before", "text", "score_before", "score"}
    # ten iterations of warm-up are more than the two of the run: the policy is the SFT model
    assert not judged["is_measurable"]
    assert "no measurable difference" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "done before" in capsys.readouterr().out


@pytest.mark.slow
def test_ppo_learns_to_answer_in_the_language_asked_for():
    """The task of docs/ppo.md, one seed: from a half to above 0.95, KL below its bound."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from language_task import PPO, make_task, ppo_trainer, pretrain_base, text_loss, tune

    task = make_task()
    with Workers() as workers:
        base = pretrain_base(task, seed=0, workers=workers)
        sft = tune(task, base, seed=0, workers=workers)
        trainer = ppo_trainer(task, sft, seed=0, workers=workers)
        before = trainer.evaluate()["score"]
        rows = [trainer.step(step) for step in range(PPO.num_steps)]
        after = trainer.evaluate()["score"]
    assert 0.3 < before < 0.7
    assert np.mean([float(row["score"]) for row in rows[-10:]]) > 0.95
    assert after > 0.9
    assert max(float(row["kl_response"]) for row in rows) < PPO.kl_bound
    assert text_loss(task, trainer.models.policy) < text_loss(task, sft)
