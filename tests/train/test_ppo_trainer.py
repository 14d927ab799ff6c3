"""One iteration of PPO and a whole run on models of two layers."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.core.workers import Workers
from openqwen.data.training.loader import TokenWindows
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.scorer import scorer_from
from openqwen.train.checkpoint import load_newest
from openqwen.train.loop import LoopSettings, checkpoints_of, run_loop
from openqwen.train.ppo import PPOTrainer
from openqwen.train.ppo_batch import Models, advantages_of, measure, score_responses, states_of
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.rollout import Rollouts, Vocabulary, sample_responses

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=48, train_length=64
)
END, PAIR = 40, 41
WANTED = 7
PROMPTS = [[PAIR, 1, i, 2] + [3] * (i % 3) for i in range(4, 16)]
CONFIG = PPOConfig(
    num_steps=6,
    value_warmup_steps=1,
    queries_per_step=6,
    max_prompt_tokens=16,
    max_new_tokens=8,
    learning_rate=3e-3,
    value_learning_rate=3e-3,
    micro_responses=3,
    num_minibatches=2,
    dtype="float32",
)
ALLOWED = torch.arange(48) <= END


def wanted_share(prompts, responses):
    return [r.count(WANTED) / len(r) for r in responses]


def make(*, count=1, reward=None, dtype=torch.float32, held_out=(), **changes):
    policy = new_decoder(SHAPE, seed=1)
    scorer = scorer_from(new_decoder(SHAPE, seed=2), seed=3)
    models = Models(
        policy,
        copy.deepcopy(scorer),
        copy.deepcopy(policy),
        copy.deepcopy(scorer) if reward is None else reward,
    )
    tokens = np.random.default_rng(0).integers(0, 40, 600).astype(np.uint16)
    config = CONFIG.model_copy(update=changes)
    return PPOTrainer(
        config,
        models,
        PROMPTS,
        list(held_out),
        windows=TokenWindows(tokens, context_length=16, seed=5),
        vocabulary=Vocabulary(ALLOWED, (END,), END),
        seed=11,
        dtype=dtype,
        workers=Workers(count),
    )


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def run(trainer, steps):
    with trainer.workers:
        return [{name: float(v) for name, v in trainer.step(step).items()} for step in range(steps)]


def loop(trainer, out, num_steps=6):
    settings = LoopSettings(
        num_steps=num_steps,
        log_every=1,
        evaluate_every=3,
        checkpoint_every=2,
        keep_checkpoints=2,
        flops_per_token=0.0,
        peak_flops_per_s=1.0,
    )
    with trainer.workers:
        return run_loop("toy", trainer, settings, out)


def numbers(path: Path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.pop("tokens_per_s", None)
        row.pop("time", None)
    return rows


def test_the_policy_stands_still_while_only_the_value_model_learns():
    trainer = make(value_warmup_steps=2)
    policy, value = weights(trainer.models.policy), weights(trainer.models.value)
    rows = run(trainer, 2)
    assert same(policy, weights(trainer.models.policy))
    assert not same(value, weights(trainer.models.value))
    assert all("policy_loss" not in row for row in rows)
    with trainer.workers:
        assert "policy_loss" in trainer.step(2)
    assert not same(policy, weights(trainer.models.policy))


def test_reference_and_reward_model_are_never_changed():
    trainer = make()
    reference, reward = weights(trainer.models.reference), weights(trainer.models.reward)
    run(trainer, 3)
    assert same(reference, weights(trainer.models.reference))
    assert same(reward, weights(trainer.models.reward))


def test_before_the_first_update_there_is_no_kl_and_the_ratio_is_one():
    row = run(make(value_warmup_steps=0, num_minibatches=1), 1)[0]
    assert row["kl_k1"] == row["kl_k3"] == 0
    assert row["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert row["policy_clip_fraction"] == 0


def test_what_is_paid_for_is_said_more_often():
    trainer = make(
        reward=wanted_share,
        queries_per_step=12,
        responses_per_query=4,
        micro_responses=24,
        num_minibatches=4,
        learning_rate=1e-2,
        value_learning_rate=1e-2,
        missing_end_penalty=0.0,
        pretraining_coefficient=0.0,
    )
    rows = run(trainer, 14)
    first, last = ([row["score"] for row in part] for part in (rows[:2], rows[-3:]))
    assert min(last) > 4 * max(first)
    assert rows[-1]["kl_response"] > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_workers_changes_no_bit(dtype):
    one, three = make(count=1, dtype=dtype), make(count=3, dtype=dtype)
    assert run(one, 3) == run(three, 3)
    assert same(weights(one.models.policy), weights(three.models.policy))
    assert same(weights(one.models.value), weights(three.models.value))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run and the directory it wrote."""
    trainer, out = make(held_out=PROMPTS[:3]), tmp_path_factory.mktemp("whole")
    loop(trainer, out)
    return trainer, out


@pytest.mark.parametrize("killed_after", [1, 5])
def test_a_killed_run_ends_with_the_same_bits(whole, tmp_path, monkeypatch, killed_after):
    killed = make(held_out=PROMPTS[:3])
    step = killed.step

    def die(number):
        if number == killed_after:
            raise KeyboardInterrupt
        return step(number)

    monkeypatch.setattr(killed, "step", die)
    with pytest.raises(KeyboardInterrupt):
        loop(killed, tmp_path)
    resumed = make(held_out=PROMPTS[:3])
    loop(resumed, tmp_path)

    trainer, out = whole
    assert same(weights(trainer.models.policy), weights(resumed.models.policy))
    assert same(weights(trainer.models.value), weights(resumed.models.value))
    rows = numbers(out / "metrics.jsonl")
    assert numbers(tmp_path / "metrics.jsonl") == rows
    assert [row["n"] for row in rows if row["kind"] == "validation"] == [3, 3]


def test_the_pretraining_term_is_part_of_the_gradient():
    without, weak, strong = (
        make(value_warmup_steps=0, pretraining_coefficient=c) for c in (0.0, 0.05, 5.0)
    )
    rows = [run(trainer, 1)[0] for trainer in (without, weak, strong)]
    assert "pretraining_loss" not in rows[0]
    # an untrained model knows nothing of 48 tokens
    assert rows[1]["pretraining_loss"] == pytest.approx(np.log(48), abs=0.3)
    assert rows[2]["gradient_norm"] > 2 * rows[1]["gradient_norm"] > 0
    assert not same(weights(without.models.policy), weights(weak.models.policy))


def test_the_running_mean_is_taken_from_the_score_and_a_missing_end_costs(monkeypatch):
    seen = []

    def spy(experience, scores_R, config):
        seen.append((experience.scores_R.clone(), scores_R.clone()))
        return advantages_of(experience, scores_R, config)

    monkeypatch.setattr("openqwen.train.ppo.advantages_of", spy)
    trainer = make(reward=wanted_share, missing_end_penalty=0.0, value_warmup_steps=9)
    run(trainer, 2)
    (first, first_used), (second, second_used) = seen
    assert_close(first_used, first - first.mean())
    assert_close(second_used, second - torch.cat([first, second]).mean())

    seen.clear()
    row = run(make(reward=wanted_share, missing_end_penalty=2.5, value_warmup_steps=9), 1)[0]
    ((raw, used),) = seen
    costs = raw - raw.mean() - used
    assert set(costs.round(decimals=4).tolist()) <= {0.0, 2.5}
    assert float((costs > 1).float().mean()) == pytest.approx(row["no_end_share"])
    assert row["no_end_share"] > 0


def test_a_flag_ends_the_run_where_it_is_asked_to_and_stays_the_end_when_resumed(tmp_path):
    changes = {"kl_bound": 1e-4, "stop_on_flag": True, "value_warmup_steps": 0}
    trainer = make(held_out=PROMPTS[:2], **changes)
    loop(trainer, tmp_path)
    assert trainer.stop_reason.startswith("iteration 2: KL")
    assert load_newest(checkpoints_of(tmp_path))[0] == 2
    again = make(held_out=PROMPTS[:2], **changes)
    loop(again, tmp_path)
    assert again.stop_reason == trainer.stop_reason
    assert same(weights(again.models.policy), weights(trainer.models.policy))


def test_log_probabilities_and_values_are_those_of_each_text_alone():
    """Packing several texts a row changes nothing; the state before a token predicts it."""
    trainer = make()
    prompts, responses = PROMPTS[:5], [[5, 6, END], [7], [8, 9, 10, 11], [END], [12, 12]]
    ended = [r[-1] == END for r in responses]
    with trainer.workers:
        experience = measure(
            trainer.models,
            prompts,
            Rollouts(responses, ended, 1.0),
            end_id=END,
            micro_responses=2,
            workers=trainer.workers,
        )
    policy, value = trainer.models.policy, trainer.models.value
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ids = torch.tensor([prompt + response])
        with torch.no_grad():
            logprobs = torch.log_softmax(policy(ids)[0].float(), -1)
            values = value.values(ids)[0]
        places = range(len(prompt) - 1, len(prompt) + len(response) - 1)
        told = [logprobs[p, t] for p, t in zip(places, response, strict=True)]
        entropy = [-(logprobs[p].exp() * logprobs[p]).sum() for p in places]
        n = len(response)
        assert_close(experience.log_probs_RT[i, :n], torch.stack(told), atol=1e-5, rtol=1e-4)
        assert_close(experience.entropy_RT[i, :n], torch.stack(entropy), atol=1e-5, rtol=1e-4)
        assert_close(experience.values_RT[i, :n], values[list(places)], atol=1e-5, rtol=1e-4)
        assert experience.mask_RT[i].tolist() == [1.0] * n + [0.0] * (4 - n)
    assert_close(experience.reference_RT, experience.log_probs_RT)


def test_the_score_is_read_at_the_end_token_even_where_the_reply_was_cut():
    trainer = make()
    scorer = trainer.models.reward
    responses = [[5, 6, END], [5, 6]]
    scores = score_responses(
        scorer,
        [PROMPTS[0], PROMPTS[0]],
        Rollouts(responses, [True, False], 1.0),
        end_id=END,
        micro_responses=2,
        workers=trainer.workers,
    )
    with torch.no_grad():
        alone = scorer.scores(torch.tensor([[*PROMPTS[0], 5, 6, END]]))
    assert_close(scores, alone.expand(2), atol=1e-5, rtol=1e-4)


def test_every_response_is_used_once_an_epoch_and_every_query_once_a_pass():
    trainer = make()
    met = [tuple(p) for step in range(2) for p in trainer._queries(step)]
    assert sorted(met) == sorted(tuple(p) for p in PROMPTS for _ in range(2))
    assert met[:12] != met[12:]
    states = states_of(PROMPTS[:2], [[1, 2], [3]])
    assert states.targets_N.tolist() == [1, 2, 3]


def test_minibatches_must_divide_the_responses():
    with pytest.raises(ValueError, match="num_minibatches = 5 must divide the 12 responses"):
        PPOConfig(queries_per_step=6, responses_per_query=2, num_minibatches=5)


def test_a_reward_that_is_no_number_ends_the_run_with_one_line(tmp_path):
    trainer = make(reward=lambda prompts, responses: [float("nan")] * len(responses))
    with pytest.raises(UserError, match="loss"):
        loop(trainer, tmp_path)


def test_samples_come_from_allowed_rows_only_and_end_with_the_end_token():
    trainer = make()
    with trainer.workers:
        rollouts = sample_responses(
            trainer.models.policy,
            PROMPTS,
            seeds=list(range(len(PROMPTS))),
            max_new_tokens=60,
            temperature=1.0,
            top_p=1.0,
            vocabulary=trainer.vocabulary,
            workers=trainer.workers,
        )
    assert max(max(r) for r in rollouts.responses) <= END
    assert any(rollouts.ended)
    for response, ended in zip(rollouts.responses, rollouts.ended, strict=True):
        assert (END in response) == ended == (response[-1] == END)
