"""Rows of sizes on request: against the numbers worked out by hand, and in a run."""

import json

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
    tuner,
    write_shards,
)

from openqwen.core.workers import Workers
from openqwen.model.decoder import new_decoder
from openqwen.train.statistics import activation_statistics, masters_before, weight_statistics


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


def test_norms_are_those_of_masters_and_their_change():
    before = {
        "master.layers.0.a.weight": torch.tensor([3.0, 4.0]),
        "master.lm_head.weight": torch.tensor([[12.0]]),
        "exp_avg.lm_head.weight": torch.tensor([[99.0]]),
    }
    kept = masters_before(before)
    before["master.layers.0.a.weight"] += torch.tensor([0.0, -4.0])
    found = weight_statistics(kept, before)
    assert found["weight_norm"] == pytest.approx((9 + 144) ** 0.5)
    assert found["update_ratio"] == pytest.approx(4 / (9 + 144) ** 0.5)
    assert found["parts"]["layer 0"]["update_ratio"] == pytest.approx(4 / 3)
    assert found["parts"]["lm_head"] == {"weight_norm": 12, "update_norm": 0, "update_ratio": 0}


def test_activations_are_those_of_the_residual_stream():
    model = new_decoder(SHAPE, seed=0)
    ids = torch.arange(16)[None]
    found = activation_statistics(model, lambda: model.hidden(ids), Workers(1))
    assert list(found) == ["embedding", "layer 0", "layer 1", "norm"]
    embedded = model.embed_tokens(ids).detach()
    assert found["embedding"]["rms"] == pytest.approx(float(embedded.square().mean().sqrt()))
    assert found["embedding"]["max"] == pytest.approx(float(embedded.abs().max()))
    final = model.hidden(ids).detach()
    assert found["norm"]["max"] == pytest.approx(float(final.abs().max()), rel=1e-5)
    assert not model.norm._forward_hooks


@pytest.mark.parametrize("kind", ["pretrain", "sft", "reward", "ppo"])
def test_a_run_writes_rows_and_is_not_changed_by_it(kind, shards, tmp_path):
    def make(every):
        makers = {"sft": tuner, "reward": scorer, "ppo": reinforcer}
        settings = {"statistics_every_steps": every, "num_steps": 4}
        return pretrainer(shards, **settings) if kind == "pretrain" else makers[kind](**settings)

    measured, plain = make(2), make(0)
    run(measured, tmp_path / "measured")
    run(plain, tmp_path / "plain")
    assert same_bits(state_of(measured), state_of(plain))
    text = (tmp_path / "measured" / "metrics.jsonl").read_text()
    rows = [row for row in map(json.loads, text.splitlines()) if row["kind"] == "statistics"]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert 0 < row["update_ratio"] < 0.1
        assert row["activations"]["layer 1"]["max"] > row["activations"]["layer 1"]["rms"] > 0
        assert any(name.endswith("layer 1") for name in row["parts"])
    assert '"statistics"' not in (tmp_path / "plain" / "metrics.jsonl").read_text()
