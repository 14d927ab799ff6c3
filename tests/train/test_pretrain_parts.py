import math
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

from openqwen.core.errors import UserError
from openqwen.core.workers import Workers
from openqwen.data.training.shards import Span, TokenShard
from openqwen.model.config import QWEN_7B, qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.train.guard import Guard
from openqwen.train.guard_config import GuardConfig
from openqwen.train.loop import LoopSettings, run_loop
from openqwen.train.throughput import flops_per_token, measure_peak
from openqwen.train.validation import evaluate_groups

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=1, vocab_size=64, train_length=8
)


def test_bits_a_byte_count_ordinary_tokens_over_their_bytes():
    model = new_decoder(SHAPE, seed=0).eval()
    tokens = np.random.default_rng(0).integers(0, 64, 41).astype(np.uint16)
    shard = TokenShard(tokens, [Span("a", "en", 0, 33, 0), Span("b", "zh", 33, 8, 0)])
    lengths = torch.arange(64) % 4  # ids 0, 4, 8 … are control tokens without bytes
    with Workers(2) as workers:
        found = evaluate_groups(
            model,
            shard,
            lengths,
            context_length=8,
            max_tokens=1000,
            batch_sequences=3,
            workers=workers,
        )
    ids = torch.from_numpy(tokens[:33].astype(np.int64))
    losses = functional.cross_entropy(
        model(ids[:32].view(4, 8)).flatten(0, 1), ids[1:33], reduction="none"
    ).detach()
    sizes = lengths[ids[1:33]]
    assert found["en"]["tokens"] == 32
    assert found["en"]["loss"] == pytest.approx(float(losses.mean()), abs=1e-5)
    bits = float(losses[sizes > 0].sum()) / math.log(2) / int(sizes.sum())
    assert found["en"]["bits_per_byte"] == pytest.approx(bits, abs=1e-5)
    assert found["zh"]["tokens"] == 7  # shorter than the context: one window of what there is


def test_flops_a_token_follow_the_contract():
    matrices = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 151_936 * 4096
    assert flops_per_token(QWEN_7B, 2048) == 6 * matrices + 6 * 32 * 2048 * 4096


def test_the_peak_is_a_mean_of_rates_so_below_the_best():
    with Workers(1) as workers:
        peak = measure_peak(SHAPE, num_tokens=64, dtype=torch.float32, workers=workers)
    assert 0 < peak.flops_per_s <= peak.best_flops_per_s
    assert len(peak.best_shape) == 3


def test_workers_keep_the_order_and_run_single_threaded():
    before = torch.get_num_threads()
    with Workers(3) as workers:
        assert torch.get_num_threads() == 1
        threads = list(
            workers.map(lambda i: (i, torch.get_num_threads(), threading.get_ident()), range(20))
        )
    assert torch.get_num_threads() == before
    assert [i for i, _, _ in threads] == list(range(20))
    assert {n for _, n, _ in threads} == {1}
    assert threading.get_ident() not in {t for _, _, t in threads}


class Counter:
    stop_reason = ""
    """A trainer whose loss is a function of its steps; it can fail on demand."""

    tokens_per_step = 10

    def __init__(self, fail_at=None):
        self.total, self.fail_at, self.steps = torch.zeros(1), fail_at, []
        self.guard = Guard(GuardConfig())

    def step(self, step):
        self.steps.append(step)
        self.total += step + 1
        loss = float("nan") if step == self.fail_at else 1 / float(self.total)
        return {"loss": loss, "learning_rate": 0.1}

    def evaluate(self):
        return {"total": float(self.total)}

    def state(self):
        return {"total": self.total}

    def load_state(self, tensors):
        self.total = tensors["total"].clone()


def settings(num_steps=10):
    return LoopSettings(num_steps, 2, 4, 3, 2, flops_per_token=1.0, peak_flops_per_s=1.0)


def test_a_stopped_loop_goes_on_from_its_newest_checkpoint(tmp_path):
    whole = run_loop("base", Counter(), settings(), tmp_path / "whole")
    broken = Counter(fail_at=7)
    with pytest.raises(UserError, match=r"the loss became nan by step 8; lower base.learning_rate"):
        run_loop("base", broken, settings(), tmp_path / "broken")
    again = Counter()
    assert run_loop("base", again, settings(), tmp_path / "broken") == whole
    assert again.steps == [6, 7, 8, 9]
    assert (whole["step"], whole["total"]) == (10, 55.0)

    def steady(directory):
        rows = (directory / "metrics.jsonl").read_text().splitlines()
        return [line.split('"tokens_per_s"')[0] for line in rows]

    assert steady(tmp_path / "broken") == steady(tmp_path / "whole")
