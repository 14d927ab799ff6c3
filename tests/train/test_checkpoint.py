import shutil

import pytest
import torch

from openqwen.train.checkpoint import load_newest, save_checkpoint


def tensors(value):
    return {"a": torch.full((3, 2), float(value)), "b": torch.tensor(value)}


def test_the_newest_of_the_kept_checkpoints_is_loaded(tmp_path):
    assert load_newest(tmp_path) is None
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, tensors(step), {"note": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    step, found, facts = load_newest(tmp_path)
    assert step == 15
    assert torch.equal(found["a"], torch.full((3, 2), 15.0))
    assert facts["note"] == 15


@pytest.mark.parametrize("damage", ["flip", "truncate", "no facts", "no tensors", "facts torn"])
def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path, capsys, damage):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, tensors(step), {}, keep=2)
    newest = tmp_path / "step-00000010"
    weights, facts = newest / "state.safetensors", newest / "state.json"
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


def test_no_whole_checkpoint_means_none(tmp_path):
    save_checkpoint(tmp_path, 5, tensors(5), {}, keep=2)
    (tmp_path / "step-00000005" / "state.json").unlink()
    assert load_newest(tmp_path) is None
    shutil.rmtree(tmp_path / "step-00000005")
    assert load_newest(tmp_path) is None
