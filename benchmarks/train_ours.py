"""Our side of train_speed.py: the step that pretraining takes, in a process of its own."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from train_turns import Trainee, name_ranges, serve_trainee

from openqwen.core.runtime import set_determinism
from openqwen.core.workers import Workers
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.train.config import PretrainConfig
from openqwen.train.step import next_token_step
from openqwen.train.throughput import measure_peak

try:
    from openqwen.train.engine import open_optimiser
except ModuleNotFoundError:  # a commit before the engine, by train_profile.py --tree
    from openqwen.train import optimiser

    open_optimiser = optimiser.MasterAdamW

DTYPE = torch.bfloat16
LEARNING_RATE = 1e-3


class Ours(Trainee):
    """Model, optimiser and workers as the pretraining trainer makes them."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Make them for the job's shape."""
        self.job = job
        self.shape = ModelConfig(
            vocab_size=job["vocab_size"],
            hidden_size=job["hidden_size"],
            num_hidden_layers=job["num_hidden_layers"],
            num_attention_heads=job["num_attention_heads"],
            num_key_value_heads=job["num_attention_heads"],
            head_dim=job["hidden_size"] // job["num_attention_heads"],
            intermediate_size=job["intermediate_size"],
            train_length=job["context"],
        )
        set_determinism(0)
        self.model = new_decoder(self.shape, seed=0)
        config = PretrainConfig(num_steps=1000, learning_rate=LEARNING_RATE)
        self.optimiser = open_optimiser(self.model, config, compute_dtype=DTYPE)
        self.workers = Workers(job["threads"]).__enter__()  # until the process ends
        self.versions = {"torch": torch.__version__, "openqwen": version("openqwen")}

    def step(self, inputs_BT: Tensor, targets_BT: Tensor) -> float:
        """Take one step as pretraining does."""
        loss, _ = next_token_step(
            self.model,
            self.optimiser,
            inputs_BT,
            targets_BT,
            micro_sequences=self.job["micro_sequences"],
            learning_rate=LEARNING_RATE,
            workers=self.workers,
        )
        return float(loss)

    def name_parts(self) -> None:
        """Give the parts that the profiler can't see by themselves ranges of their own."""
        from openqwen.train import step

        name_ranges(step, ["linear_cross_entropy"], "part:head")
        name_ranges(self.optimiser, ["accumulate", "step"], "part:optimiser")
        try:
            from openqwen.train.kernels import ops
        except ModuleNotFoundError:
            return
        for kernel in [n for n, f in vars(ops).items() if callable(f) and n.islower()]:
            if not kernel.startswith("_") and getattr(ops, kernel).__module__ == ops.__name__:
                name_ranges(ops, [kernel], f"kernel:{kernel}")

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Measure the rate of the model's own products, in FLOP/s."""
        rows = self.job["micro_sequences"] * self.job["context"]
        peak = measure_peak(self.shape, num_tokens=rows, dtype=DTYPE, workers=self.workers)
        return {
            "flops_per_s": peak.flops_per_s,
            "best_flops_per_s": peak.best_flops_per_s,
            "best_shape": peak.best_shape,
        }


if __name__ == "__main__":
    serve_trainee(Ours)
