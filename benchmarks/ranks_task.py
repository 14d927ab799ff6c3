"""What the benchmarks of training over ranks share: launching, watching, comparing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from kill_training import Job, folders, last_row

from openqwen.core.files import sha256_file
from openqwen.core.manifest import METRICS_NAME, Manifest
from openqwen.train.checkpoint import sealed
from openqwen.train.saving import kept_of
from openqwen.train.sharded_checkpoint import SavedShards

LIMIT_S = 600
TIMES = ("tokens_per_s", "share_of_peak", "time")  # of a metric row


def launch(
    job: Job, out: Path, *, ranks: int, restarts: int = 0, settings: tuple[str, ...] = ()
) -> subprocess.Popen:
    """Start a pretraining on so many ranks; 0 is a plain process without a launcher."""
    call = [sys.executable, "-m"]
    if ranks:
        call += ["torch.distributed.run", "--standalone", "--nproc-per-node", ranks]
        call += ["--max-restarts", restarts, "-m"]
    call += ["openqwen", "pretrain", job.recipe, "--out", out]
    call += ["--shards", job.folder / "data", "--tokenizer", job.folder / "data"]
    for setting in settings:
        call += ["--set", setting]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (job.folder / "said.txt").open("a") as said:
        return subprocess.Popen(
            [str(part) for part in call],
            stdout=said,
            stderr=said,
            env=environment,
            start_new_session=True,
        )


def wait(process: subprocess.Popen, job: Job) -> None:
    """Wait for the end of a run that must end well."""
    if process.wait(timeout=LIMIT_S):
        raise SystemExit(job.said())


def stop(process: subprocess.Popen) -> None:
    """End a run with all its ranks, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    for worker in workers_of(process):
        os.kill(worker, signal.SIGKILL)
    process.wait()


def workers_of(launcher: subprocess.Popen) -> list[int]:
    """Return the process ids of a launcher's ranks, in their order."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            variables = (path.parent / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        ranks = [int(v[5:]) for v in variables if v.startswith(b"RANK=")]
        if parent == launcher.pid and ranks:
            found.append((ranks[0], int(path.parent.name)))
    return [number for _, number in sorted(found)]


def wait_for_step(process: subprocess.Popen, out: Path, step: int, job: Job) -> None:
    """Wait until a training row of that step, or a later one, is written."""
    while last_row(out).get("step", 0) < step:
        if process.poll() is not None:
            raise SystemExit(f"the run ended before step {step}\n{job.said()}")
        time.sleep(0.01)


def wait_for_checkpoint(process: subprocess.Popen, out: Path, step: int, job: Job) -> None:
    """Wait until the checkpoint of that step is sealed."""
    while f"step-{step:08}" not in folders(out)[0]:
        if process.poll() is not None:
            raise SystemExit(f"the run ended before step {step}\n{job.said()}")
        time.sleep(0.01)


def rows_of(out: Path) -> list[dict]:
    """Return the metric rows without what differs in time."""
    rows = [json.loads(line) for line in (out / METRICS_NAME).read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def compare_runs(one: Path, other: Path) -> list[tuple[str, bool]]:
    """Return what was compared of two finished runs, and whether it is the same to the bit."""
    rows = rows_of(one)
    found = [(f"{len(rows)} metric rows, times and speeds apart", rows == rows_of(other))]
    for name in sorted(Manifest.read(one).outputs):
        if name.endswith(".safetensors"):
            same = sha256_file(one / name) == sha256_file(other / name)
            found.append((f"`{name}` ({(one / name).stat().st_size:,} bytes)", same))
    for saved in list(sealed(kept_of(one)))[::-1]:
        mine, theirs = SavedShards(saved.path), SavedShards(kept_of(other) / saved.path.name)
        same = mine.keys() == theirs.keys()
        same = same and all(torch.equal(mine[name], theirs[name]) for name in mine)
        what = f"masters and moments of step {saved.step}: {len(mine)} tensors"
        found.append((what, same))
    return found
