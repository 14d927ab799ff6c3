"""Is `openqwen plan` right? Its memory beside our code at full size, its speed beside others' runs.

    python benchmarks/plan_validation.py --write-docs

Memory: the project's own `ShardedAdamW` and `parallelize` on a pretended group of 64 ranks, with
tensors that have a shape and no memory (torch's FakeTensorMode). One whole step runs, forward and
backward, twice; torch's FSDPMemTracker adds up what is alive. Nothing of it is estimated: sizes of
shards, of what autograd saved, of gathered parameters and gradients in flight are the code's own.
"""

import argparse
import contextlib
import io
import json
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from plan_published import LLAMA3_70B, Published, published
from results import ROOT, provenance, write_section
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.testing._internal.distributed.fake_pg import FakeStore

from openqwen.cli.main import main as main_of_openqwen
from openqwen.model.config import QWEN_1_8B, QWEN_7B, QWEN_14B, ModelConfig
from openqwen.model.decoder import Decoder
from openqwen.parallel.columns import own_columns
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.mesh import open_mesh
from openqwen.parallel.plan_devices import GIB, find_device
from openqwen.parallel.plan_layout import Job, Layout
from openqwen.parallel.plan_memory import final_saved_bytes, memory_of, saved_bytes
from openqwen.parallel.plan_search import search
from openqwen.parallel.plan_speed import speed_of
from openqwen.train.config import TrainingConfig
from openqwen.train.losses import linear_token_loss
from openqwen.train.sharded import ShardedAdamW

PAGE = ROOT / "docs" / "plan.md"
COMMAND = "python benchmarks/plan_validation.py --write-docs"
NUM_RANKS = 64
PARTS = ("masters", "moments", "gradients", "saved", "peak")
CASES: tuple[tuple[str, ModelConfig, int, Layout], ...] = (
    ("14B", QWEN_14B, 2048, Layout(shard=64, micro_sequences=1)),
    ("14B", QWEN_14B, 2048, Layout(shard=64, micro_sequences=2)),
    ("14B", QWEN_14B, 2048, Layout(shard=64, micro_sequences=8, recompute="layer")),
    ("14B", QWEN_14B, 2048, Layout(replicate=8, shard=8, micro_sequences=1)),
    ("14B", QWEN_14B, 2048, Layout(shard=16, tensor=4, micro_sequences=4)),
    ("14B", QWEN_14B, 2048, Layout(shard=8, tensor=8, micro_sequences=8, recompute="layer")),
    ("14B", QWEN_14B, 8192, Layout(shard=16, context=4, micro_sequences=1)),
    ("14B", QWEN_14B, 8192, Layout(shard=16, context=2, tensor=2, recompute="layer")),
    ("7B", QWEN_7B, 2048, Layout(shard=64, micro_sequences=4)),
    ("7B", QWEN_7B, 8192, Layout(replicate=2, shard=8, context=2, tensor=2)),
    ("1.8B", QWEN_1_8B, 2048, Layout(replicate=8, shard=8, micro_sequences=8)),
    ("1.8B", QWEN_1_8B, 2048, Layout(replicate=4, shard=8, tensor=2, micro_sequences=16)),
    # not looked at while the formulas were made
    ("7B", QWEN_7B, 2048, Layout(shard=8, tensor=8, micro_sequences=16, recompute="layer")),
    ("1.8B", QWEN_1_8B, 8192, Layout(shard=8, context=8)),
    ("Llama 3 70B", LLAMA3_70B, 4096, Layout(shard=8, tensor=8, micro_sequences=2)),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write-docs", action="store_true", help="replace the page's tables")
    arguments.add_argument("--only", choices=("memory", "speed"), help="one of the two")
    args = arguments.parse_args()
    warnings.simplefilter("ignore")
    if args.only != "memory":
        speed = [compare_speed(row) for row in published()]
        print("\n".join(json.dumps(row) for row in speed))
        if args.write_docs:
            write_section(PAGE, "plan_example", "An example", example_section())
            write_section(PAGE, "plan_speed", "Speed beside published runs", speed_section(speed))
    if args.only != "speed":
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=NUM_RANKS)
        memory = []
        for case in CASES:
            memory.append(compare_memory(*case))
            print(json.dumps(memory[-1]), flush=True)
        dist.destroy_process_group()
        if args.write_docs:
            write_section(PAGE, "plan_memory", "Memory beside the code", memory_section(memory))


def compare_memory(name: str, config: ModelConfig, length: int, layout: Layout) -> dict[str, Any]:
    """Return the plan's and the code's bytes of one layout."""
    job = Job(config, find_device("h100-80g"), NUM_RANKS, length, 2048)
    memory = memory_of(job, layout)
    planned = {
        "masters": memory.masters,
        "moments": memory.moments,
        "gradients": memory.gradients,
        "saved": saved_bytes(job, layout) + final_saved_bytes(job, layout),
        "peak": memory.total - memory.reserve,
    }
    return {
        "model": name,
        "context_length": length,
        "layout": layout.describe(),
        "planned": planned,
        "measured": measure(config, length, layout),
    }


def measure(config: ModelConfig, length: int, layout: Layout) -> dict[str, int]:
    """Return what the first rank of the group holds, by the project's own code."""
    parallel = ParallelConfig(
        replicate=layout.replicate,
        shard=layout.shard,
        context=layout.context,
        tensor=layout.tensor,
        recompute=layout.recompute,
    )
    mesh = open_mesh(parallel, torch.device("cpu"))
    with torch.device("meta"):
        model = Decoder(config)
    settings = TrainingConfig(parallel=parallel)
    optimiser = ShardedAdamW(model.train(), settings, mesh, compute_dtype=torch.bfloat16)
    found = {
        "masters": sum(4 * master.numel() for master in optimiser.masters),
        "moments": sum(4 * m.to_local().numel() for ms in optimiser.moments.values() for m in ms),
    }
    root = optimiser.root
    with FakeTensorMode(allow_non_fake_inputs=True):
        root.to_empty(device="cpu")
        adamw = torch.optim.AdamW(root.parameters(), foreach=False)
        ids_BT = torch.zeros(layout.micro_sequences, length, dtype=torch.int64)
        loss_of = _loss_of(model)
        root(loss_of, ids_BT).backward()
        adamw.step()
        found["gradients"], found["saved"] = _after_the_layers(root, adamw, model, ids_BT)
        found["peak"] = _peak(root, adamw, loss_of, ids_BT)
    return found


def _loss_of(model: Decoder) -> Callable[[Tensor], Tensor]:
    """Return the loss of pretraining, all targets valid (which is decided by values otherwise)."""

    def loss(ids_BT: Tensor) -> Tensor:
        hidden_ND = model.hidden(ids_BT).flatten(0, 1)
        targets_N = own_columns(model, ids_BT).flatten()
        return linear_token_loss(
            hidden_ND,
            model.lm_head.weight,
            targets_N,
            lambda log_probs_N, rows: (-log_probs_N, None),
        )[0]

    return loss


def _after_the_layers(
    root: nn.Module, adamw: torch.optim.Optimizer, model: Decoder, ids_BT: Tensor
) -> tuple[int, int]:
    """Return the bytes of gradients and of what is saved, states among it, before the loss."""
    tracker = FSDPMemTracker(root, adamw)
    with tracker:
        hidden_BTD = root(model.hidden, ids_BT)
        alive = _alive(tracker, "current")
    hidden_BTD.sum().backward()
    return alive["Sharded Grad"], alive["Activation"]


def _peak(
    root: nn.Module,
    adamw: torch.optim.Optimizer,
    loss_of: Callable[[Tensor], Tensor],
    ids_BT: Tensor,
) -> int:
    """Return the most that is alive in one micro-batch of a step that has others."""
    tracker = FSDPMemTracker(root, adamw)
    with tracker:
        root(loss_of, ids_BT).backward()
        adamw.step()
    return _alive(tracker, "peak")["Total"]


def _alive(tracker: FSDPMemTracker, when: str) -> dict[str, int]:
    snapshot = tracker.get_tracker_snapshot(when)[torch.device("cpu")]
    return {getattr(kind, "value", kind): amount for kind, amount in snapshot.items()}


def compare_speed(row: Published) -> dict[str, Any]:
    """Return the plan's range beside the published figure, tokens a second and device."""
    job = row.job
    layout = row.layout or search(job).best.layout
    speed, count = speed_of(job, layout), job.num_devices
    low, expected, high = (
        end.tokens_per_s / count for end in (speed.low, speed.expected, speed.high)
    )
    return {
        "run": row.name,
        "kind": row.kind,
        "device": job.device.name,
        "num_devices": count,
        "context_length": job.context_length,
        "layout": layout.describe(),
        "published": row.tokens_per_s,
        "published_mfu": row.tokens_per_s * job.flops_per_token / job.device.peak_flops_per_s,
        "low": low,
        "expected": expected,
        "high": high,
        "error": expected / row.tokens_per_s - 1,
        "in_range": low <= row.tokens_per_s <= high,
        "source": row.source,
        "note": row.note,
    }


def example_section() -> str:
    """Return what the command prints for the report's largest model."""
    words = ["--model", "14b", "--gpus", "64", "--gpu", "h100-80g", "--context", "2048"]
    words += ["--batch-tokens", "4M"]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main_of_openqwen(["plan", *words]) == 0, "the example is one that works"
    return f"```\n$ openqwen plan {' '.join(words)}\n{output.getvalue().rstrip()}\n```"


def memory_section(rows: list[dict[str, Any]]) -> str:
    """Return the table of memory, GiB, and the largest error of each part."""
    lines = [
        "Each cell: plan / code, GiB on the first of 64 ranks. Saved: what layers and final norm "
        "keep for the backward pass. Peak: everything alive at the worst moment of a micro-batch, "
        "without the plan's reserve.",
        "",
        f"| model, tokens | layout | {' | '.join(PARTS)} | peak off by |",
        "|---|---|" + "---|" * (len(PARTS) + 1),
    ]
    for row in rows:
        cells = [f"{row['planned'][p] / GIB:.2f} / {row['measured'][p] / GIB:.2f}" for p in PARTS]
        lines.append(
            f"| {row['model']}, {row['context_length']:,} | {row['layout']} | {' | '.join(cells)} "
            f"| {100 * _off(row, 'peak'):+.1f} % |"
        )
    worst = [f"{part} {100 * max(abs(_off(row, part)) for row in rows):.1f} %" for part in PARTS]
    lines += [
        "",
        f"Largest error of each part over {len(rows)} layouts: {', '.join(worst)}.",
        "",
        provenance(COMMAND),
    ]
    return "\n".join(lines)


def _off(row: dict[str, Any], part: str) -> float:
    error: float = row["planned"][part] / row["measured"][part] - 1
    return error


def speed_section(rows: list[dict[str, Any]]) -> str:
    """Return the table of speeds, tokens a second and device, held-out runs first."""
    held = [row for row in rows if row["kind"] == "held out"]
    fitted = [row for row in rows if row["kind"] != "held out"]
    lines = ["Held out: read after the constants were committed.", "", *_speed_table(held), ""]
    lines += [
        _summary("held-out", held),
        "",
        "Calibration: the constants were fitted to these.",
        "",
    ]
    lines += [*_speed_table(fitted), "", _summary("calibration", fitted), "", provenance(COMMAND)]
    return "\n".join(lines)


def _speed_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| run | devices | layout, tokens | published (MFU) | plan: low – expected – high | off by "
        "| in range | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        note = f" ({row['note']})" if row["note"] else ""
        inside = "yes" if row["in_range"] else "no"
        lines.append(
            f"| {row['run']}{note} | {row['num_devices']} × {row['device']} | {row['layout']}, "
            f"{row['context_length']:,} | {row['published']:,.0f} "
            f"({100 * row['published_mfu']:.0f} %) "
            f"| {row['low']:,.0f} – {row['expected']:,.0f} – {row['high']:,.0f} "
            f"| {100 * row['error']:+.0f} % | {inside} | {row['source']} |"
        )
    return lines


def _summary(name: str, rows: list[dict[str, Any]]) -> str:
    errors = [abs(row["error"]) for row in rows]
    inside = sum(row["in_range"] for row in rows)
    return (
        f"{len(rows)} {name} runs: expected figure off by {100 * statistics.median(errors):.0f} % "
        f"in the median, {100 * max(errors):.0f} % at most; {inside} of {len(rows)} published "
        "figures lie in the plan's range."
    )


if __name__ == "__main__":
    main()
