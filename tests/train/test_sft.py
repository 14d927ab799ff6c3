import numpy as np
import pytest
import torch
from torch.testing import assert_close

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.core.workers import Workers
from openqwen.data.training.packing import Encoded, PackedBatches
from openqwen.model.adapters import add_lora
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.train.sft import Round, SFTTrainer, rounds_of
from openqwen.train.sft_config import SFTConfig

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=64, train_length=32
)
# a large epsilon: with 1e-8 Adam turns rounding of near-zero gradients into whole steps
PLAIN = {"context_length": 32, "num_steps": 4, "warmup_steps": 0, "learning_rate": 1e-2}
PLAIN |= {"epsilon": 1e-3, "dropout": 0.0}


def config_of(**settings):
    return parse_config(SFTConfig, PLAIN | settings, where="test")


@pytest.fixture(scope="module")
def encoded():
    lengths = [9, 14, 7, 11, 20, 5, 12, 8]
    draw = np.random.default_rng(0)
    ids = draw.integers(0, 64, sum(lengths)).astype(np.int32)
    learnt = draw.random(sum(lengths)) < 0.5
    return Encoded(ids, learnt, np.cumsum([0, *lengths], dtype=np.int64), 0, 0)


def trainer_of(encoded, config, *, pack=True, rows=0, count=1, lora=False, dtype=torch.float32):
    """A trainer whose step holds all conversations once."""
    model = new_decoder(SHAPE, seed=1)
    if lora:
        add_lora(model, rank=2, alpha=4.0, targets=("qkv", "out"), seed=0)
    batches = PackedBatches(
        encoded, context_length=32, sequences_per_step=rows or 1, seed=0, pack=pack
    )
    batches.sequences_per_step = rows or batches.rows_per_epoch
    workers = Workers(count)
    rounds = [Round(batches, config.num_steps)]
    return SFTTrainer(config, model, rounds, {}, seed=0, dtype=dtype, workers=workers)


def run(trainer, steps=2):
    with trainer.workers:
        rows = [trainer.step(step) for step in range(steps)]
    return [float(row["loss"]) for row in rows], trainer.model.state_dict()


def test_packed_unpacked_and_accumulated_steps_are_equal(encoded):
    whole = run(trainer_of(encoded, config_of(micro_sequences=8, sequences_per_step=8)))
    one = {"micro_sequences": 1, "sequences_per_step": 1}
    parts = run(trainer_of(encoded, config_of(**one)))
    alone = run(trainer_of(encoded, config_of(**one), pack=False))
    for losses, weights in (parts, alone):
        assert losses == pytest.approx(whole[0], rel=1e-5)
        for name, value in whole[1].items():
            assert_close(weights[name], value, rtol=1e-4, atol=2e-5)


def test_the_loss_is_the_mean_over_learnt_tokens_worked_out_the_long_way(encoded):
    trainer = trainer_of(encoded, config_of(micro_sequences=1, sequences_per_step=1))
    model = new_decoder(SHAPE, seed=1)
    total, count = 0.0, 0
    for i in range(len(encoded)):
        span = slice(*encoded.offsets[i : i + 2])
        ids = torch.from_numpy(encoded.ids_N[span].astype(np.int64))
        learnt = torch.from_numpy(encoded.learnt_N[span])
        log_probs = model(ids[None])[0].log_softmax(-1)[:-1]
        picked = log_probs.gather(1, ids[1:, None])[:, 0]
        total -= float(picked[learnt[1:]].sum())
        count += int(learnt[1:].sum())
    assert run(trainer, steps=1)[0] == [pytest.approx(total / count, rel=1e-5)]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_number_of_workers_changes_no_bit(encoded, dropout):
    config = config_of(micro_sequences=1, sequences_per_step=1, dropout=dropout)
    one = run(trainer_of(encoded, config, count=1, dtype=torch.bfloat16))
    three = run(trainer_of(encoded, config, count=3, dtype=torch.bfloat16))
    assert one[0] == three[0]
    assert all(torch.equal(three[1][name], value) for name, value in one[1].items())


def test_a_resumed_trainer_ends_with_the_same_bits(encoded):
    config = config_of(micro_sequences=1, sequences_per_step=1, dropout=0.1)
    _, whole = run(trainer_of(encoded, config, rows=2), steps=4)
    first = trainer_of(encoded, config, rows=2)
    run(first, steps=2)
    second = trainer_of(encoded, config, rows=2)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    with second.workers:
        for step in (2, 3):
            second.step(step)
    assert all(torch.equal(second.model.state_dict()[n], value) for n, value in whole.items())


def test_with_lora_only_the_adapters_move_and_the_loss_falls(encoded):
    config = config_of(
        micro_sequences=1, sequences_per_step=1, num_steps=8, learning_rate=3e-2, epsilon=1e-8
    )
    trainer = trainer_of(encoded, config, lora=True)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    losses, _ = run(trainer, steps=8)
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all("lora_" in name for name in moved)
    assert losses[-1] < losses[0] - 0.05


def test_rounds_share_the_steps_and_epochs_decide_where_asked(encoded):
    config = config_of(num_steps=10, sequences_per_step=2, micro_sequences=1)
    assert [r.num_steps for r in rounds_of(config, [(encoded, 0.7), (encoded, 0.3)], seed=0)] == [
        7,
        3,
    ]
    by_epochs = config_of(num_steps=0, num_epochs=6.0, sequences_per_step=1, micro_sequences=1)
    (only,) = rounds_of(by_epochs, [(encoded, 1.0)], seed=0)
    assert only.num_steps == 6 * only.batches.rows_per_epoch
    nothing = Encoded(encoded.ids_N[:0], encoded.learnt_N[:0], encoded.offsets[:1], 0, 3)
    with pytest.raises(UserError, match="no conversation is left to learn from"):
        rounds_of(config, [(nothing, 1.0)], seed=0)


def test_steps_and_epochs_together_or_none_is_refused():
    with pytest.raises(UserError, match="set one of the two"):
        config_of(num_epochs=1.0)
    with pytest.raises(UserError, match="set one of the two"):
        config_of(num_steps=0)
