"""What must not change a run: how a step is cut, packed and spread, where it was interrupted."""

import shutil

import pytest
import torch
from small_trainers import (
    SHAPE,
    pretrainer,
    reinforcer,
    run,
    same_bits,
    scorer,
    state_of,
    steady,
    tuner,
    write_shards,
)
from torch.testing import assert_close

from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.train.checkpoint import sealed
from openqwen.train.loop import checkpoints_of

TRAINERS = ("pretrain", "sft", "reward", "ppo")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


def make(kind, shards, **settings):
    makers = {"sft": tuner, "reward": scorer, "ppo": reinforcer}
    return pretrainer(shards, **settings) if kind == "pretrain" else makers[kind](**settings)


def take(trainer, steps=3):
    with trainer.workers:
        losses = [float(trainer.step(step)["loss"]) for step in range(steps)]
    return losses, state_of(trainer)


def about_equal(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for name, value in one[1].items():
        assert_close(other[1][name], value, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "size", "micro"),
    [
        ("pretrain", "sequences_per_step", "micro_sequences"),
        ("sft", "sequences_per_step", "micro_sequences"),
        ("reward", "pairs_per_step", "micro_pairs"),
    ],
)
def test_eight_micro_batches_of_one_are_one_of_eight(shards, kind, size, micro):
    still = {"dropout": 0.0} if kind == "sft" else {}  # dropout is drawn anew per micro-batch
    parts = take(make(kind, shards, **{size: 8, micro: 1}, **still))
    whole = take(make(kind, shards, **{size: 8, micro: 8}, **still))
    about_equal(whole, parts)


def test_packed_is_unpacked():
    """The same 20 conversations in one step, a row each or several to a row."""
    alone = tuner(pack=False, dropout=0.0, sequences_per_step=20)
    packed = tuner(pack=True, dropout=0.0)
    batches = packed.rounds[0].batches
    batches.sequences_per_step = batches.rows_per_epoch
    assert batches.rows_per_epoch < 20
    about_equal(take(alone, steps=1), take(packed, steps=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", TRAINERS)
def test_two_workers_are_one_to_the_bit(shards, kind, dtype):
    one, two = (take(make(kind, shards, count=count, dtype=dtype)) for count in (1, 2))
    assert one[0] == two[0]
    assert same_bits(one[1], two[1])


class KilledError(Exception):
    pass


def kill_at(trainer, step):
    """Let the trainer die when it is to take that step."""
    take_step = trainer.step

    def step_or_die(number):
        if number == step:
            raise KilledError
        return take_step(number)

    trainer.step = step_or_die
    return trainer


@pytest.mark.parametrize("kind", TRAINERS)
def test_resumed_is_uninterrupted_to_the_bit(shards, kind, tmp_path):
    whole = make(kind, shards, dtype=torch.bfloat16)
    measured = run(whole, tmp_path / "whole")
    for step in (1, 5, 7):  # before the first checkpoint, after the second, after the third
        with pytest.raises(KilledError):
            run(kill_at(make(kind, shards, dtype=torch.bfloat16), step), tmp_path / "killed")
    resumed = make(kind, shards, dtype=torch.bfloat16)
    assert run(resumed, tmp_path / "killed") == measured
    assert same_bits(state_of(resumed), state_of(whole))
    assert steady(tmp_path / "killed") == steady(tmp_path / "whole")


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_costs_steps_but_no_bit(shards, tmp_path, capsys, damaged):
    whole = pretrainer(shards)
    run(whole, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(kill_at(pretrainer(shards), 7), tmp_path / "killed")
    for saved in list(sealed(checkpoints_of(tmp_path / "killed")))[:damaged]:
        path = saved.path / "state.safetensors"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    capsys.readouterr()
    resumed = pretrainer(shards)
    run(resumed, tmp_path / "killed")
    assert same_bits(state_of(resumed), state_of(whole))
    assert steady(tmp_path / "killed") == steady(tmp_path / "whole")
    said = capsys.readouterr()
    assert "step-00000006 is damaged (state.safetensors has other bytes than when it" in said.err
    if damaged == 1:
        assert "base          resumes after step 4" in said.out
    else:
        assert "base: no checkpoint is whole; training begins anew" in said.err


def test_asynchronous_and_other_checkpoints_change_nothing(shards, tmp_path):
    whole, other = (
        pretrainer(shards),
        pretrainer(
            shards,
            checkpoint_every_steps=3,
            checkpoints={"asynchronous": True, "keep_every_steps": 6},
        ),
    )
    run(whole, tmp_path / "whole")
    run(other, tmp_path / "other")
    assert same_bits(state_of(whole), state_of(other))
    assert steady(tmp_path / "other") == steady(tmp_path / "whole")
    assert [saved.step for saved in sealed(checkpoints_of(tmp_path / "other"))] == [8, 6]
    shutil.rmtree(tmp_path / "other" / "scratch")
    assert [saved.step for saved in sealed(tmp_path / "other" / "checkpoints")] == [6]


def test_an_export_read_again_has_the_same_logits(shards, tmp_path):
    trainer = pretrainer(shards, dtype=torch.bfloat16)
    take(trainer)
    write_export(tmp_path, trainer.model, stop_ids=[1])
    again = read_checkpoint(tmp_path).load_model(dtype=torch.bfloat16)
    plain = new_decoder(SHAPE, seed=9, dtype=torch.bfloat16)  # layers as they are outside training
    plain.load_state_dict(trainer.model.state_dict())
    ids = torch.arange(16)[None]
    with torch.no_grad():
        assert torch.equal(again(ids), plain(ids))
    assert again.config == SHAPE


def test_the_loss_counts_each_learnt_token_once_however_they_are_spread():
    """Micro-batches of very unequal counts: a mean of means would give another loss."""
    trainer = tuner(dropout=0.0, micro_sequences=1, sequences_per_step=8)
    batch = trainer.rounds[0].batches.batch(0)
    counts = (batch.targets_BT >= 0).sum(1)
    assert counts.max() > 1.5 * counts.min()
    (loss,), _ = take(trainer, steps=1)
    fresh = tuner(dropout=0.0, micro_sequences=8, sequences_per_step=8)
    hidden = fresh.model.hidden(batch.inputs_BT, segments_BT=batch.segments_BT)
    nll = torch.nn.functional.cross_entropy(
        fresh.model.lm_head(hidden).flatten(0, 1).float(),
        batch.targets_BT.flatten(),
        ignore_index=-100,
        reduction="sum",
    )
    assert loss == pytest.approx(float(nll.detach()) / int(counts.sum()), rel=1e-5)
