import copy

import pytest
import torch
from torch.testing import assert_close

from openqwen.core.workers import Workers
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.likelihood import IGNORED
from openqwen.train.config import PretrainConfig
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.schedule import learning_rate_at
from openqwen.train.step import next_token_step

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=64, train_length=16
)
# a large epsilon: with 1e-8 Adam turns rounding of near-zero gradients into whole steps
CONFIG = PretrainConfig(num_steps=10, warmup_steps=2, learning_rate=1e-2, epsilon=1e-3)


def batch(rows=8, length=16, seed=0):
    ids = torch.randint(64, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def train(micro_sequences, steps=3, dtype=torch.float32, count=1):
    model = new_decoder(SHAPE, seed=1)
    optimiser = MasterAdamW(model, CONFIG, compute_dtype=dtype)
    losses = []
    with Workers(count) as workers:
        for step in range(steps):
            inputs, targets = batch(seed=step)
            targets[0, :5] = IGNORED  # micro-batches of unequal counts
            loss, norm = next_token_step(
                model,
                optimiser,
                inputs,
                targets,
                micro_sequences=micro_sequences,
                learning_rate=1e-2,
                workers=workers,
            )
            losses.append((float(loss), float(norm)))
    return model, optimiser, losses


def test_accumulating_eight_times_one_is_once_eight():
    whole, _, losses = train(8)
    parts, _, part_losses = train(1)
    assert_close(torch.tensor(part_losses), torch.tensor(losses), rtol=1e-5, atol=0)
    for name, value in whole.state_dict().items():
        assert_close(parts.state_dict()[name], value, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_workers_changes_no_bit(dtype):
    one, _, losses = train(2, dtype=dtype, count=1)
    three, _, losses_of_three = train(2, dtype=dtype, count=3)
    assert losses == losses_of_three
    for name, value in one.state_dict().items():
        assert torch.equal(three.state_dict()[name], value)


def test_a_float32_step_is_torchs_own_adamw():
    model = new_decoder(SHAPE, seed=1)
    twin = copy.deepcopy(model)
    decayed = [p for p in twin.parameters() if p.ndim >= 2]
    others = [p for p in twin.parameters() if p.ndim < 2]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.95),
        eps=1e-3,
    )
    optimiser = MasterAdamW(model, CONFIG, compute_dtype=torch.float32)
    for step in range(3):
        inputs, targets = batch(seed=step)
        next_token_step(
            model,
            optimiser,
            inputs,
            targets,
            micro_sequences=8,
            learning_rate=1e-2,
            workers=Workers(1),
        )
        loss = torch.nn.functional.cross_entropy(twin(inputs).flatten(0, 1), targets.flatten())
        reference.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        reference.step()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_masters_keep_what_bfloat16_would_lose():
    model, optimiser, _ = train(8, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {m.dtype for m in optimiser.masters} == {torch.float32}
    for parameter, master in zip(model.parameters(), optimiser.masters, strict=True):
        assert torch.equal(parameter, master.to(torch.bfloat16))
    assert any(not torch.equal(m, m.to(torch.bfloat16).float()) for m in optimiser.masters)


def test_a_restored_optimiser_continues_with_the_same_bits():
    model, optimiser, _ = train(8, dtype=torch.bfloat16)
    state = {name: value.clone() for name, value in optimiser.state().items()}
    other_model = new_decoder(SHAPE, seed=99)
    other = MasterAdamW(other_model, CONFIG, compute_dtype=torch.bfloat16)
    other.load_state(state)
    for pair in ((model, optimiser), (other_model, other)):
        inputs, targets = batch(seed=7)
        next_token_step(
            *pair, inputs, targets, micro_sequences=4, learning_rate=1e-2, workers=Workers(1)
        )
    for mine, theirs in zip(optimiser.masters, other.masters, strict=True):
        assert torch.equal(mine, theirs)


def test_the_gradient_is_clipped_to_the_norm():
    model = new_decoder(SHAPE, seed=1)
    optimiser = MasterAdamW(model, CONFIG, compute_dtype=torch.float32)
    optimiser.accumulate([torch.full_like(p, 3.0) for p in model.parameters()])
    count = sum(p.numel() for p in model.parameters())
    assert float(optimiser.step(0.0)) == pytest.approx(3 * count**0.5, rel=1e-5)


def test_the_schedule_warms_up_and_ends_at_a_tenth():
    config = PretrainConfig(num_steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[99] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    middle = 10 + (99 - 10) / 2
    assert (rates[int(middle)] + rates[int(middle) + 1]) / 2 == pytest.approx(0.55, abs=1e-3)


def test_a_run_shorter_than_its_warm_up_only_rises():
    config = PretrainConfig(num_steps=5, warmup_steps=10, learning_rate=1.0)
    assert [learning_rate_at(s, config) for s in range(5)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5]
    )


def test_epochs_may_set_the_cosines_end_and_another_model_its_peak():
    config = PretrainConfig(num_steps=100, warmup_steps=10, learning_rate=1.0)
    shorter = PretrainConfig(num_steps=40, warmup_steps=10, learning_rate=1.0)
    for step in (0, 9, 20, 39):
        expected = learning_rate_at(step, shorter)
        assert learning_rate_at(step, config, num_steps=40) == expected
        assert learning_rate_at(step, shorter, peak=0.5) == pytest.approx(0.5 * expected)
