"""Updates that are refused: what the guard finds, what the loop does about it, what is written."""

import json
import math

import pytest
import torch
from small_trainers import pretrainer, run, same_bits, scorer, state_of, steady, tuner, write_shards

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.train.checkpoint import sealed
from openqwen.train.config import PretrainConfig
from openqwen.train.guard import Guard, Incidents
from openqwen.train.guard_config import GuardConfig
from openqwen.train.loop import checkpoints_of
from openqwen.train.pretrain import PretrainTrainer

SPIKES = {"spike": "skip", "window_steps": 8, "quiet_steps": 4}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


class Poisoned(PretrainTrainer):
    """Its batch of some steps holds what makes the loss no number, every time it is met."""

    poisoned = (4,)  # counted from 0

    def step(self, step):
        weight = self.model.norm.weight
        if step not in self.poisoned:
            return super().step(step)
        kept = weight.detach().clone()
        weight.data.fill_(math.nan)
        try:
            return super().step(step)
        finally:
            weight.data.copy_(kept)


class Jumping(PretrainTrainer):
    """Its sixth step is far too long, so that the seventh finds a ruined model."""

    def step(self, step):
        if step == 5:
            plain = self.optimiser.step
            self.optimiser.step = lambda rate, *rest, **more: plain(3.0, *rest, **more)
            try:
                return super().step(step)
            finally:
                del self.optimiser.step
        return super().step(step)


def incidents(out):
    return [json.loads(line) for line in (out / "incidents.jsonl").read_text().splitlines()]


def test_a_spike_is_far_above_the_accepted_ones_of_the_window():
    guard = Guard(GuardConfig(**SPIKES, loss_deviations=3.0, norm_multiple=5.0))
    for loss in (2.0, 2.1, 1.9, 2.0):
        assert guard.accepts(loss, 1.0)
    assert guard.accepts(2.2, 1.0)  # mean 2.0, deviation 0.07: below 2.21
    assert not guard.accepts(2.5, 1.0)
    assert guard.take().reason == "the loss is 2.5, the last ones 2.04 ± 0.1"
    assert guard.take() is None
    assert not guard.accepts(2.0, 5.1)
    assert guard.take().reason == "the gradient norm is 5.1, the last ones' median 1"
    assert guard.accepts(2.3, 4.9)  # what was refused is in neither window


def test_nothing_is_a_spike_before_enough_was_seen_or_where_it_is_off():
    guard = Guard(GuardConfig(**SPIKES))
    assert all(guard.accepts(loss, loss) for loss in (1.0, 1.0, 1.0, 1e6))
    off = Guard(GuardConfig())
    assert all(off.accepts(loss, loss) for loss in [1.0] * 64 + [1e6])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_always_found(bad):
    guard = Guard(GuardConfig())
    assert not guard.accepts(torch.tensor(bad), torch.tensor(1.0))
    assert guard.take().kind == "non_finite"
    assert not guard.accepts(1.0, bad)
    assert guard.take().reason == f"the gradient norm is {bad}"


def test_restored_windows_judge_the_same_and_each_update_has_its_own():
    guard = Guard(GuardConfig(**SPIKES))
    for i in range(6):
        guard.accepts(1 + 0.1 * i, 2 + 0.1 * i, update="value")
        guard.accepts(9 + 0.1 * i, 8 + 0.1 * i, update="policy")
    again = Guard(GuardConfig(**SPIKES))
    again.load_state(json.loads(json.dumps(guard.state())))
    assert again.state() == guard.state()
    assert not again.accepts(9.0, 2.0, update="value")
    assert again.take().update == "value"
    assert again.accepts(9.0, 8.0, update="policy")


def test_settings_that_would_never_act_are_refused():
    with pytest.raises(UserError, match=r"quiet_steps = 32 must be at most window_steps = 8"):
        parse_config(GuardConfig, {"spike": "skip", "window_steps": 8}, where="test")
    best = {"checkpoints": {"best_measure": "groups.en.loss"}, "evaluate_every_steps": 7}
    with pytest.raises(UserError, match=r"checkpoint_every_steps = 1000 must be a multiple of eva"):
        parse_config(PretrainConfig, best, where="test")


def test_stop_ends_with_one_line_and_takes_no_update(shards, tmp_path):
    trainer = pretrainer(shards, kind=Poisoned)
    with pytest.raises(UserError, match=r"^base: step 5: the loss is nan; .*incidents.jsonl"):
        run(trainer, tmp_path)
    assert all(torch.isfinite(t).all() for t in trainer.state().values())
    assert [saved.step for saved in sealed(checkpoints_of(tmp_path))] == [4, 2]
    (row,) = incidents(tmp_path)
    assert (row["step"], row["kind"], row["policy"], row["loss"]) == (
        5,
        "non_finite",
        "stop",
        "nan",
    )
    assert row["documents"] == trainer.documents(4)
    assert len(row["documents"]) >= 8  # windows of 16 tokens of documents of 21


def test_skip_drops_the_update_and_goes_on(shards, tmp_path, capsys):
    trainer = pretrainer(shards, kind=Poisoned, guard={"non_finite": "skip"})
    run(trainer, tmp_path)
    said = capsys.readouterr().err
    assert "base: step 5: the loss is nan; this update is skipped (incidents.jsonl names" in said
    assert [row["step"] for row in incidents(tmp_path)] == [5]
    without = pretrainer(shards)
    with without.workers:
        for step in (0, 1, 2, 3, 5, 6, 7):
            without.step(step)
    assert same_bits(state_of(trainer), state_of(without))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4, 6, 7, 8]


def test_rollback_leaves_the_offending_steps_out_the_second_time(shards, tmp_path, capsys):
    guard = {"spike": "rollback", "quiet_steps": 4, "window_steps": 8, "rollback_steps": 2}
    trainer = pretrainer(shards, kind=Jumping, guard=guard)
    run(trainer, tmp_path / "a")
    (row,) = incidents(tmp_path / "a")
    # the sixth step ruins the model, the seventh shows it, the checkpoint after six is ruined
    assert (row["step"], row["leaves_out_from"], row["back_to"]) == (7, 6, 4)
    assert (
        "back to the checkpoint of step 4; steps 6 to 7 are left out (" in capsys.readouterr().err
    )
    without = pretrainer(shards)
    with without.workers:
        for step in (0, 1, 2, 3, 4, 7):
            without.step(step)
    assert same_bits(state_of(trainer), state_of(without))
    assert row["documents"] == without.documents(6)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", ["first", "row written", "restored", "left out"])
def test_a_rollback_that_is_killed_half_way_ends_with_the_same_bits(
    shards, tmp_path, monkeypatch, moment
):
    guard = {"spike": "rollback", "quiet_steps": 4, "window_steps": 8, "rollback_steps": 2}
    whole = pretrainer(shards, kind=Jumping, guard=guard)
    run(whole, tmp_path / "whole")
    killed = pretrainer(shards, kind=Jumping, guard=guard)

    def die_after(deed):
        def both(*arguments):
            deed(*arguments)
            raise KilledError

        return both

    with monkeypatch.context() as patch:
        if moment == "row written":
            patch.setattr(Incidents, "add", die_after(Incidents.add))
        elif moment == "restored":
            killed.load_state = die_after(killed.load_state)
        else:
            last, take = {"left out": 7, "first": 3}[moment], killed.step
            killed.step = lambda step: die_after(take)(step) if step == last else take(step)
        with pytest.raises(KilledError):
            run(killed, tmp_path / "killed")
    again = pretrainer(shards, kind=Jumping, guard=guard)
    run(again, tmp_path / "killed")
    assert same_bits(state_of(again), state_of(whole))
    assert steady(tmp_path / "killed") == steady(tmp_path / "whole")
    assert incidents(tmp_path / "killed") == incidents(tmp_path / "whole")


def test_too_many_incidents_end_the_run(shards, tmp_path):
    class Always(Poisoned):
        poisoned = tuple(range(3, 8))

    trainer = pretrainer(shards, kind=Always, guard={"non_finite": "skip", "most_incidents": 2})
    with pytest.raises(UserError, match=r"step 6: the loss is nan after 2 incidents"):
        run(trainer, tmp_path)
    assert [row["policy"] for row in incidents(tmp_path)] == ["skip", "skip", "stop"]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_rollback_can_go_back_to_the_start(shards, tmp_path, bad):
    class Early(Poisoned):
        poisoned = (bad,)

    trainer = pretrainer(shards, kind=Early, guard={"non_finite": "rollback"})
    run(trainer, tmp_path)
    assert [row["back_to"] for row in incidents(tmp_path)] == [0]
    without = pretrainer(shards)
    with without.workers:
        for step in set(range(8)) - {bad}:
            without.step(step)
    assert same_bits(state_of(trainer), state_of(without))


def test_every_trainer_names_its_texts(shards):
    assert set(scorer().documents(0)) <= {f"pair-{i}" for i in range(12)}
    assert len(scorer().documents(0)) == 4
    names = tuner().documents(0)
    assert len(names) >= 4
    assert all(name.startswith("talk-") for name in names)


def test_documents_of_windows_are_those_their_tokens_come_from(shards):
    windows = pretrainer(shards).windows
    for index in (0, 1, 17, 90):  # the last is in the second epoch
        start = windows.start(index)
        expected = {f"train-{place // 21}" for place in range(start, start + 17)}
        assert set(windows.documents(index, 1)) == expected
    assert windows.documents(0, 4)[0] in windows.documents(0, 1)
