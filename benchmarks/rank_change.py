"""One pretraining whose number of ranks changes on the way, beside one process.

    python benchmarks/rank_change.py --write-docs

A run in float32 is started on 4 ranks and ended by SIGKILL once a checkpoint is sealed; the same
command on 2 ranks, on 1, without a launcher and on 4 again goes on from what the one before left.
Every step's loss is compared with that of one undisturbed process, as is a control: one process
with other micro-batches, whose sums have another order, too. A second part has 4 ranks export a
larger model and measures how much memory that takes from each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from kill_training import EVERY, folders, prepare
from ranks_task import launch, rows_of, stop, wait, wait_for_checkpoint
from results import ROOT, provenance, write_section

from openqwen.core.files import read_json, write_json
from openqwen.model.formats.directory import read_checkpoint
from openqwen.train.saving import checkpoints_of

PAGE = ROOT / "docs" / "scaling.md"
STEPS = 48
COURSE = (4, 2, 1, 0, 4)  # ranks of each part of the run; 0: a plain process
# a large epsilon: with 1e-8 Adam turns the rounding of near-zero gradients into whole steps
EXACT = ("base.dtype=float32", "base.epsilon=1e-3")
EXPORT_RANKS, EXPORT_WIDTH, EXPORT_LAYERS, EXPORT_VOCABULARY = 4, 1024, 16, 8192


def name_of(ranks: int) -> str:
    return {0: "a plain process", 1: "torchrun, 1 rank"}.get(ranks, f"{ranks} ranks")


def change_ranks(folder: Path) -> tuple[list[dict], list[dict], list[dict], float]:
    """Run all; return the parts, the differences by step, the control's, and the weights'."""
    job = prepare(folder, STEPS, beside=True)
    whole, control, changed = (folder / name for name in ("one", "control", "changed"))
    for out in (whole, control, changed):
        shutil.rmtree(out, ignore_errors=True)
    wait(launch(job, whole, ranks=0, settings=EXACT), job)
    other = ("base.micro_sequences=2",)
    wait(launch(job, control, ranks=0, settings=(*EXACT, *other)), job)
    job.said()
    parts, first, width = [], 1, STEPS // len(COURSE) // EVERY * EVERY
    for number, ranks in enumerate(COURSE):
        process = launch(job, changed, ranks=ranks, settings=EXACT)
        last = STEPS
        if number < len(COURSE) - 1:
            wait_for_checkpoint(process, changed, (number + 1) * width, job)
            stop(process)
            newest = folders(changed)[0][-1]
            last = int(newest.removeprefix("step-"))
            form = read_json(checkpoints_of(changed) / newest / "state.json")["form"]
        else:
            wait(process, job)
            form = "the export"
        said = job.said()
        assert number == 0 or f"resumes after step {first - 1:,}" in said, said
        parts.append({"ranks": ranks, "first": first, "last": last, "form": form})
        print(json.dumps(parts[-1]), flush=True)
        first = last + 1
    apart, controls = _differences(whole, changed), _differences(whole, control)
    return parts, apart, controls, weights_apart(whole, changed)


def _differences(whole: Path, changed: Path) -> list[dict]:
    """Return how far loss and gradient norm of each step are apart, relative."""
    one, other = ([r for r in rows_of(out) if r["kind"] == "train"] for out in (whole, changed))
    assert len(one) == len(other) == STEPS
    return [
        {
            "step": a["step"],
            "loss": abs(a["loss"] - b["loss"]) / a["loss"],
            "gradient_norm": abs(a["gradient_norm"] - b["gradient_norm"]) / a["gradient_norm"],
        }
        for a, b in zip(one, other, strict=True)
    ]


def weights_apart(whole: Path, changed: Path) -> float:
    """Return the largest difference of a weight over the largest weight, of two exports."""
    one, other = (
        read_checkpoint(out)
        .load_model(dtype=torch.float32, device=torch.device("cpu"))
        .state_dict()
        for out in (whole, changed)
    )
    largest = max(float(t.abs().max()) for t in one.values())
    return max(float((one[n] - other[n]).abs().max()) for n in one) / largest


def export_memory(folder: Path) -> list[dict]:
    """Let ranks export a model; return what each measured."""
    out = folder / "exported"
    shutil.rmtree(out, ignore_errors=True)
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    call += ["--nproc-per-node", str(EXPORT_RANKS), __file__, "--export-rank", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(call, check=True, env=environment, timeout=300)
    return [read_json(out / f"rank-{number}.json") for number in range(EXPORT_RANKS)]


def export_rank(out: Path) -> None:
    """Be one of the ranks: shard a model, export it, write down how memory grew meanwhile."""
    from openqwen.core.runtime import give_memory_back
    from openqwen.model.config import qwen_config
    from openqwen.model.decoder import empty_decoder
    from openqwen.parallel.config import ParallelConfig
    from openqwen.parallel.mesh import open_mesh, process_group
    from openqwen.parallel.parallelize import parallelize
    from openqwen.train.sharded_export import write_shares

    device = torch.device("cpu")
    shape = qwen_config(
        hidden_size=EXPORT_WIDTH,
        num_attention_heads=EXPORT_WIDTH // 64,
        num_hidden_layers=EXPORT_LAYERS,
        vocab_size=EXPORT_VOCABULARY,
        train_length=1024,
    )
    with process_group(device):
        mesh = open_mesh(ParallelConfig(), device)
        model = empty_decoder(shape, dtype=torch.float32)
        for number, parameter in enumerate(model.parameters()):
            parameter.data.fill_(number + 1.0)
        parallelize(model, mesh, ParallelConfig(), compute_dtype=torch.bfloat16)
        shards = sum(p.to_local().numel() * 4 for p in model.parameters())
        largest = max(p.numel() for p in model.parameters()) * 2
        give_memory_back()
        with Watch() as watch:
            write_shares(out, model, dtype=torch.bfloat16)
        rank = torch.distributed.get_rank()
        file = out / f"model-{rank + 1:05}-of-{EXPORT_RANKS:05}.safetensors"
        row = {"shards": shards, "grew": watch.most - watch.before, "file": file.stat().st_size}
        write_json(out / f"rank-{rank}.json", row | {"largest": largest})


class Watch:
    """The most anonymous memory of this process inside the block, looked at every millisecond."""

    def __enter__(self) -> "Watch":
        self.before = self.most = self._now()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.ended.is_set():
            self.most = max(self.most, self._now())
            time.sleep(0.001)

    @staticmethod
    def _now() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise SystemExit("no RssAnon: this needs Linux")


def report(
    parts: list, apart: list, controls: list, weights: float, memory: list, call: str
) -> str:
    lines = [
        f"{STEPS} steps in float32 (`{' '.join(EXACT)}`), the same command each time, "
        "ended by SIGKILL once a checkpoint was sealed (but for the last part). Differences are "
        "relative to one undisturbed plain process, the largest of the steps.",
        "",
        "| steps | on | went on from | loss apart by at most | gradient norm apart by at most |",
        "|---|---|---|---|---|",
    ]
    before = "nothing"
    for part in parts:
        steps = apart[part["first"] - 1 : part["last"]]
        loss, norm = (max(s[key] for s in steps) for key in ("loss", "gradient_norm"))
        lines.append(
            f"| {part['first']} – {part['last']} | {name_of(part['ranks'])} | {before} | "
            f"{loss:.1e} | {norm:.1e} |"
        )
        before = f"a checkpoint of the form {part['form']}"
    whole = sum(row["file"] for row in memory)
    loss, norm = (max(s[key] for s in controls) for key in ("loss", "gradient_norm"))
    lines += [
        f"| 1 – {STEPS} | control: a plain process, micro-batches of 2 instead of 4 | nothing | "
        f"{loss:.1e} | {norm:.1e} |",
        "",
        f"The exported weights are apart by at most {weights:.1e} of the largest weight.",
        "",
        f"Export of a model of {whole / 2e6:,.0f} M parameters ({whole:,} bytes in bfloat16) from "
        f"{len(memory)} ranks; the largest tensor has {memory[0]['largest']:,} bytes.",
        "",
        "| rank | its shards, float32 | its file | memory grew by at most |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {rank} | {row['shards']:,} | {row['file']:,} | {row['grew']:,} |"
        for rank, row in enumerate(memory)
    ]
    return "\n".join([*lines, "", provenance(call)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one without it")
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--export-rank", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.export_rank:
        export_rank(args.export_rank)
        return
    with tempfile.TemporaryDirectory(prefix="rank-change-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = change_ranks(folder)
        memory = export_memory(folder)
    body = report(*measured, memory, "python benchmarks/rank_change.py")
    print(body)
    if args.write_docs:
        write_section(PAGE, "rank_change", "Another number of ranks on the way", body)


if __name__ == "__main__":
    main()
