"""Training speed of our step beside the same model in the transformers library, in one run.

    python benchmarks/train_speed.py --models tiny --peers transformers --rounds 5 --write-docs

Ours and the peers take turns (A-B-A-B); every sample is printed, medians are compared. All train
the same shape on equal batches in bfloat16 with float32 masters (the peer under autocast, its own
way), with fused AdamW and clipping at 1. One JSON line a row. Run it on a quiet machine.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, provenance, write_section

from openqwen.core.runtime import pick_dtype
from openqwen.core.workers import Workers
from openqwen.model.config import ModelConfig, count_parameters, qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import published_config
from openqwen.recipes import BUILTIN
from openqwen.tokenizer.control import NUM_EXTRA, padded_rows
from openqwen.train.config import PretrainConfig
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.step import next_token_step
from openqwen.train.throughput import flops_per_token, measure_peak

DTYPE = torch.bfloat16


@dataclass(frozen=True)
class Job:
    """One model and batch to train on."""

    name: str
    shape: ModelConfig
    sequences: int
    context: int

    @property
    def tokens(self) -> int:
        return self.sequences * self.context


def jobs() -> dict[str, Job]:
    found = {}
    for name, function in BUILTIN.items():
        recipe = function()
        model = recipe.base.model
        shape = qwen_config(
            hidden_size=model.hidden_size,
            num_attention_heads=model.num_attention_heads,
            num_hidden_layers=model.num_hidden_layers,
            vocab_size=padded_rows(recipe.tokenizer.num_ranks + 3 + NUM_EXTRA),
            train_length=recipe.shards.context_length,
        )
        found[name] = Job(name, shape, recipe.base.sequences_per_step, shape.train_length)
    return found


def our_step(job: Job) -> Callable[[torch.Tensor], float]:
    recipe = BUILTIN[job.name]()
    model = new_decoder(job.shape, seed=0)
    config = PretrainConfig(num_steps=1000, learning_rate=1e-3)
    optimiser = MasterAdamW(model, config, compute_dtype=DTYPE)

    def step(ids_BT: torch.Tensor) -> float:
        with Workers() as workers:  # entered anew, since the peer's turn wants all threads
            loss, _ = next_token_step(
                model,
                optimiser,
                ids_BT[:, :-1].contiguous(),
                ids_BT[:, 1:].contiguous(),
                micro_sequences=recipe.base.micro_sequences,
                learning_rate=1e-3,
                workers=workers,
            )
        return float(loss)

    return step


def transformers_step(job: Job) -> Callable[[torch.Tensor], float]:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    data = published_config(job.shape)
    for key in ("model_type", "architectures"):
        data.pop(key)
    model = Qwen2ForCausalLM(Qwen2Config(**data, attn_implementation="sdpa"))
    model.train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )

    def step(ids_BT: torch.Tensor) -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=DTYPE):
            loss = model(input_ids=ids_BT[:, :-1], labels=None).logits
            loss = torch.nn.functional.cross_entropy(
                loss.float().flatten(0, 1), ids_BT[:, 1:].flatten()
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


PEERS = {"transformers": transformers_step}


def measure(job: Job, peers: list[str], rounds: int, steps: int) -> list[dict]:
    """Return one row an implementation; samples in tokens/s, interleaved."""
    ids_BT = torch.randint(job.shape.vocab_size, (job.sequences, job.context + 1))
    makers = {"openqwen": our_step} | {name: PEERS[name] for name in peers}
    runners = {name: make(job) for name, make in makers.items()}
    for runner in runners.values():
        runner(ids_BT)  # warm-up
    samples: dict[str, list[float]] = {name: [] for name in runners}
    losses = {}
    for _ in range(rounds):
        for name, runner in runners.items():
            start = time.perf_counter()
            for _ in range(steps):
                losses[name] = runner(ids_BT)
            samples[name].append(steps * job.tokens / (time.perf_counter() - start))
    rows_at_once = BUILTIN[job.name]().base.micro_sequences * job.context
    with Workers() as workers:
        peak = measure_peak(job.shape, num_tokens=rows_at_once, dtype=DTYPE, workers=workers)
    rows = []
    for name in runners:
        rate = statistics.median(samples[name])
        rows.append(
            {
                "model": job.name,
                "impl": name,
                "version": version(name),
                "tokens_per_s": round(rate, 1),
                "samples": [round(s, 1) for s in samples[name]],
                "share_of_peak": round(
                    rate * flops_per_token(job.shape, job.context) / peak.flops_per_s, 4
                ),
                "peak_tflops": round(peak.flops_per_s / 1e12, 3),
                "best_shape_tflops": round(peak.best_flops_per_s / 1e12, 3),
                "last_loss": round(losses[name], 4),
            }
        )
    return rows


def table(rows: list[dict], sizes: dict[str, int], command: str) -> str:
    lines = [
        "| model | implementation | tokens/s, median | all samples | share of peak |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        samples = ", ".join(f"{s:,.0f}" for s in row["samples"])
        lines.append(
            f"| {row['model']} ({sizes[row['model']]:,} parameters) | {row['impl']} "
            f"{row['version']} | {row['tokens_per_s']:,.0f} | {samples} | "
            f"{100 * row['share_of_peak']:.0f} % of {row['peak_tflops']:.2f} TFLOP/s |"
        )
    for name in sizes:
        mine = next(r for r in rows if r["model"] == name and r["impl"] == "openqwen")
        for row in rows:
            if row["model"] == name and row is not mine:
                ratio = mine["tokens_per_s"] / row["tokens_per_s"]
                lines.append(f"\n{name}: openqwen is {ratio:.2f} × {row['impl']}.")
    lines.append(
        "\nThe peak is the time-weighted rate of the model's own matrix products at this batch, "
        "measured in the same run. Interleaved, eager on both sides, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}.\n"
    )
    return "\n".join([*lines, provenance(command)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--peers", default="transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if pick_dtype("auto", torch.device("cpu")) is not DTYPE:
        print("note: this processor has no native bfloat16; both sides are slow", file=sys.stderr)
    rows, sizes = [], {}
    for name in args.models.split(","):
        job = jobs()[name]
        sizes[name] = count_parameters(job.shape)
        for row in measure(job, [p for p in args.peers.split(",") if p], args.rounds, args.steps):
            rows.append(row)
            print(json.dumps(row), flush=True)
    if args.write_docs:
        command = f"python benchmarks/train_speed.py --models {args.models} --peers {args.peers}"
        write_section(PERFORMANCE, "train_speed", "Pretraining speed", table(rows, sizes, command))


if __name__ == "__main__":
    main()
