import json
import shutil
import threading

import pytest
import torch
from safetensors.torch import save_file

from openqwen.core.errors import UserError
from openqwen.train import saving
from openqwen.train.checkpoint import (
    FACTS,
    TENSORS,
    keep_best,
    keep_for_good,
    load_newest,
    open_checkpoint,
    prune,
    remove,
    save_checkpoint,
    sealed,
)
from openqwen.train.checkpoint_config import CheckpointsConfig
from openqwen.train.saving import (
    Saver,
    checkpoints_of,
    cut_history,
    history_facts,
    kept_of,
    load_random_states,
    measured,
    random_states,
)


def tensors(value):
    return {"a": torch.full((3, 2), float(value)), "b": torch.tensor(value)}


def steps_in(directory):
    return [saved.step for saved in sealed(directory)][::-1]


def test_the_newest_of_the_kept_checkpoints_is_loaded(tmp_path):
    assert load_newest(tmp_path) is None
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, tensors(step), {"note": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    step, found, facts = load_newest(tmp_path)
    assert step == 15
    assert torch.equal(found["a"], torch.full((3, 2), 15.0))
    assert (facts["note"], facts["form"]) == (15, "safetensors")
    step, _, _ = load_newest(tmp_path, usable=lambda facts: facts["note"] < 15)
    assert step == 10


@pytest.mark.parametrize("damage", ["flip", "truncate", "no facts", "no tensors", "facts torn"])
def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path, capsys, damage):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, tensors(step), {}, keep=2)
    newest = tmp_path / "step-00000010"
    weights, facts = newest / TENSORS, newest / FACTS
    data = weights.read_bytes()
    if damage == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "truncate":
        weights.write_bytes(data[:-4])
    elif damage == "no facts":
        facts.unlink()  # what a kill in the middle of saving leaves
    elif damage == "no tensors":
        weights.unlink()
    else:
        facts.write_text('{"step": 1')
    step, found, _ = load_newest(tmp_path)
    assert step == 5
    assert int(found["b"]) == 5
    said = capsys.readouterr().err
    assert damage == "no facts" or "step-00000010 is damaged" in said


def test_any_flipped_bit_of_either_file_is_found_or_changes_nothing(tmp_path, capsys):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, tensors(step), {"metrics": {"bytes": 31}}, keep=2)
    _, whole, facts = load_newest(tmp_path)
    passed = 0
    for name in (TENSORS, FACTS):
        path = tmp_path / "step-00000010" / name
        data = path.read_bytes()
        for place in range(len(data)):
            path.write_bytes(
                data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
            )
            step, found, told = load_newest(tmp_path)
            if step == 10:  # white space in JSON
                passed += 1
                assert told == facts
                assert all(torch.equal(found[k], whole[k]) for k in whole)
            else:
                assert step == 5
        path.write_bytes(data)
    assert passed < 40
    assert "is damaged (state.json has other values than when it was written); the checkpoint" in (
        capsys.readouterr().err
    )


def test_no_whole_checkpoint_means_none(tmp_path):
    save_checkpoint(tmp_path, 5, tensors(5), {}, keep=2)
    (tmp_path / "step-00000005" / FACTS).unlink()
    assert load_newest(tmp_path) is None
    shutil.rmtree(tmp_path / "step-00000005")
    assert load_newest(tmp_path) is None


def test_what_a_kill_left_half_done_is_cleared_away(tmp_path):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, tensors(step), {}, keep=2)
    save_file(tensors(12), open_checkpoint(tmp_path, 12) / TENSORS)  # killed before the facts
    (tmp_path / "step-00000005" / FACTS).unlink()  # killed while it was removed
    save_checkpoint(tmp_path, 15, tensors(15), {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]


def test_a_checkpoint_that_can_not_be_written_leaves_nothing(tmp_path):
    save_checkpoint(tmp_path, 5, tensors(5), {}, keep=2)
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, 10, tensors(10), {"no JSON": object()}, keep=2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_facts_go_first_when_a_checkpoint_is_removed(tmp_path, monkeypatch):
    target = save_checkpoint(tmp_path, 5, tensors(5), {}, keep=2)
    monkeypatch.setattr(shutil, "rmtree", lambda *rest, **more: None)  # killed here
    remove(target)
    assert [p.name for p in target.iterdir()] == [TENSORS]
    assert load_newest(tmp_path) is None


def test_every_nth_and_the_best_stay_for_good(tmp_path):
    scratch, kept = tmp_path / "scratch", tmp_path / "kept"
    values = {10: 3.0, 20: 2.0, 30: 1.0, 40: 1.0, 50: 4.0}
    for step, value in values.items():
        facts = {"measures": {"loss": value}}
        keep_for_good(save_checkpoint(scratch, step, tensors(step), facts, keep=1), kept)
        keep_best(kept, "loss", "lowest", every=20)
    assert steps_in(kept) == [20, 30, 40]  # of equal ones the earlier is the best
    assert steps_in(scratch) == [50]
    keep_best(kept, "loss", "highest", every=0)
    assert steps_in(kept) == [20]
    (saved,) = sealed(kept)
    assert saved.problem() == ""
    shutil.rmtree(scratch)
    assert load_newest(kept)[1]["b"] == 20  # links, not references


def test_the_saver_keeps_by_policy_and_makes_good_for_a_kill(tmp_path):
    policy = CheckpointsConfig(keep_every_steps=4, best_measure="groups.en.loss")
    saver = Saver(tmp_path, policy, keep=1, label="base")
    for step, loss in ((2, 5.0), (4, 6.0), (6, 4.0)):
        saver.save(step, tensors(step), {"measures": {"groups.en.loss": loss}})
    assert steps_in(kept_of(tmp_path)) == [4, 6]
    shutil.rmtree(kept_of(tmp_path) / "step-00000006")  # killed before it was linked
    Saver(tmp_path, policy, keep=1, label="base").keep_for_good()
    assert steps_in(kept_of(tmp_path)) == [4, 6]
    assert steps_in(checkpoints_of(tmp_path)) == [6]


def test_pruning_counts_only_sealed_ones(tmp_path):
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, tensors(step), {}, keep=9)
    (tmp_path / "step-00000015" / FACTS).unlink()
    prune(tmp_path, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]


def test_an_asynchronous_save_is_of_the_state_at_its_call(tmp_path, monkeypatch):
    gate = threading.Event()

    def slowly(*arguments, **named):
        assert gate.wait(10)
        return save_checkpoint(*arguments, **named)

    monkeypatch.setattr(saving, "save_checkpoint", slowly)
    saver = Saver(tmp_path, CheckpointsConfig(asynchronous=True), keep=2, label="base")
    state = tensors(1)
    saver.save(1, state, {})
    state["a"].fill_(99)  # the next step
    assert steps_in(checkpoints_of(tmp_path)) == []  # a kill now would find nothing of it
    gate.set()
    saver.save(2, state, {})
    saver.wait()
    assert steps_in(checkpoints_of(tmp_path)) == [1, 2]
    first = load_newest(checkpoints_of(tmp_path), usable=lambda facts: facts["step"] == 1)
    assert torch.equal(first[1]["a"], torch.full((3, 2), 1.0))


def test_what_goes_wrong_beside_the_steps_is_raised_at_the_next_save(tmp_path):
    saver = Saver(tmp_path, CheckpointsConfig(asynchronous=True), keep=2, label="base")
    saver.save(1, tensors(1), {"no JSON": object()})
    with pytest.raises(TypeError):
        saver.save(2, tensors(2), {})
    saver.save(3, tensors(3), {})
    saver.wait()
    assert steps_in(checkpoints_of(tmp_path)) == [3]


def test_the_metric_history_is_cut_to_the_checkpoints_bytes(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n')
    facts = json.loads(json.dumps(history_facts(tmp_path)))
    path.write_text(path.read_text() + '{"step": 2}\n{"step": ')
    assert cut_history(tmp_path, facts)
    assert path.read_text() == '{"step": 1, "loss": 2.5}\n'
    path.write_text('{"step": 1, "loss": 2.6}\n')
    assert not cut_history(tmp_path, facts)
    assert "metrics.jsonl no longer holds the rows of the checkpoint" in capsys.readouterr().err
    path.unlink()
    assert not cut_history(tmp_path, facts)


def test_random_states_come_back(tmp_path):
    torch.manual_seed(3)
    torch.rand(5)
    save_checkpoint(tmp_path, 1, random_states(), {}, keep=1)
    expected = torch.rand(4)
    torch.rand(7)
    load_random_states(load_newest(tmp_path)[1])
    assert torch.equal(torch.rand(4), expected)


def test_a_measure_is_found_by_its_dotted_name():
    row = {"kind": "validation", "step": 4, "groups": {"en": {"loss": 2.5}, "zh": {"loss": 3}}}
    assert measured(row, "groups.en.loss") == 2.5
    with pytest.raises(UserError, match=r"'groups.fr.loss' is not measured; there are groups.en"):
        measured(row, "groups.fr.loss")
