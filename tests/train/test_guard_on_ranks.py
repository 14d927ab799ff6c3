"""Refused updates and statistics on two ranks: what one process decides, both decide."""

import json
import os

import pytest
import torch.distributed as dist
from ranks import run_ranks
from small_trainers import pretrainer, run, write_shards
from test_guard import Jumping
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from openqwen.train.sharded_state import packed_state

SETTINGS = {
    "guard": {"spike": "rollback", "quiet_steps": 4, "window_steps": 8, "rollback_steps": 2},
    "statistics_every_steps": 4,
    "micro_sequences": 2,
}


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def on_ranks(shards, out):
    os.environ |= {"RANK": str(dist.get_rank()), "WORLD_SIZE": str(dist.get_world_size())}
    trainer = pretrainer(shards, kind=Jumping, **SETTINGS)
    run(trainer, out)
    whole = {
        name: t.full_tensor() if isinstance(t, DTensor) else t
        for name, t in trainer.state().items()
    }
    return dict(packed_state(whole, trainer.optimiser.layout))


@pytest.mark.dist
def test_two_ranks_go_back_and_measure_as_one_process(tmp_path):
    (tmp_path / "shards").mkdir()
    shards = write_shards(tmp_path / "shards")
    alone = pretrainer(shards, kind=Jumping, **SETTINGS)
    run(alone, tmp_path / "one")
    states = run_ranks(on_ranks, 2, shards, tmp_path / "two")
    one, two = (rows(tmp_path / name / "incidents.jsonl") for name in ("one", "two"))
    assert [row.pop("reason") is None for row in one + two] == [False, False]
    for mine, theirs in zip(one, two, strict=True):
        for name in ("loss", "gradient_norm"):
            assert theirs.pop(name) == pytest.approx(mine.pop(name), rel=1e-3)
        assert mine == theirs
    for state in states:
        for name, value in alone.state().items():
            assert_close(state[name], value, rtol=1e-3, atol=5e-5)
    one, two = (rows(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [(r["kind"], r["step"]) for r in one] == [(r["kind"], r["step"]) for r in two]
    for mine, theirs in zip(one, two, strict=True):
        if mine["kind"] == "statistics":
            for name in ("weight_norm", "update_ratio"):
                assert theirs[name] == pytest.approx(mine[name], rel=1e-4)
            for part, sizes in mine["activations"].items():
                assert theirs["activations"][part] == pytest.approx(sizes, rel=1e-4)
