"""Workers killed by their process id under torchrun: does the job mend itself, with equal bits?

    python benchmarks/killed_worker.py --kills 3 --seed 6 --write-docs

torchrun runs a pretraining on two ranks (gloo, CPU). Once and again one of them, drawn from the
seed, gets SIGKILL at a drawn step. torchrun starts all ranks anew, they take the newest checkpoint;
in the end weights, moments and metric rows are compared with those of an undisturbed run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from kill_training import EVERY, folders, last_row, prepare
from ranks_task import compare_runs, launch, wait, wait_for_step, workers_of
from results import ROOT, provenance, write_section

PAGE = ROOT / "docs" / "scaling.md"
RANKS, STEPS = 2, 48


def kill_one(launcher, out: Path, job, draw: random.Random, step: int) -> dict:
    """Kill one rank after a step's row; return what happened and how long it cost."""
    wait_for_step(launcher, out, step, job)
    workers = workers_of(launcher)
    number = draw.randrange(len(workers))
    before, at = last_row(out)["step"], time.monotonic()
    newest = folders(out)[0][-1]
    os.kill(workers[number], signal.SIGKILL)
    while set(workers_of(launcher)) & set(workers) or len(workers_of(launcher)) < RANKS:
        if launcher.poll() is not None:
            raise SystemExit(job.said())
        time.sleep(0.01)
    restarted = time.monotonic() - at
    rows = (out / "metrics.jsonl").stat().st_mtime_ns
    while (out / "metrics.jsonl").stat().st_mtime_ns == rows or last_row(out)["step"] < 1:
        if launcher.poll() is not None:
            raise SystemExit(job.said())
        time.sleep(0.01)
    wait_for_step(launcher, out, before, job)
    return {
        "rank": number,
        "row": before,
        "newest": int(newest.removeprefix("step-")),
        "restarted_s": round(restarted, 1),
        "caught_up_s": round(time.monotonic() - at, 1),
    }


def measure(folder: Path, kills: int, seed: int) -> tuple[list[dict], list, float, float]:
    """Run undisturbed and disturbed; return kills, comparison and the seconds of both."""
    job, draw = prepare(folder, STEPS, beside=True), random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    for out in (whole, killed):
        shutil.rmtree(out, ignore_errors=True)
    started = time.monotonic()
    wait(launch(job, whole, ranks=RANKS), job)
    whole_s = time.monotonic() - started
    job.said()
    started = time.monotonic()
    launcher = launch(job, killed, ranks=RANKS, restarts=kills)
    width = (STEPS - 2 * EVERY) // kills
    rows = []
    for number in range(kills):
        step = EVERY + 1 + number * width + draw.randrange(width - EVERY)
        rows.append(kill_one(launcher, killed, job, draw, step))
        print(json.dumps(rows[-1]), flush=True)
    wait(launcher, job)
    return rows, compare_runs(whole, killed), whole_s, time.monotonic() - started


def report(rows: list[dict], found: list, whole_s: float, killed_s: float, call: str) -> str:
    """Return the section's text."""
    lines = [
        f"`torchrun --nproc-per-node {RANKS} --max-restarts {len(rows)} -m openqwen pretrain …`, "
        f"{STEPS} steps, a checkpoint every {EVERY} written beside the steps: {whole_s:.0f} s "
        f"undisturbed, {killed_s:.0f} s with {len(rows)} workers killed by SIGKILL. Nobody touched "
        "the job in between.",
        "",
        "| killed | last metric row | newest whole checkpoint | all ranks anew after | "
        "back at that row after |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| rank {row['rank']} | step {row['row']} | step {row['newest']} | "
        f"{row['restarted_s']} s | {row['caught_up_s']} s |"
        for row in rows
    ]
    lines += ["", "| compared with the undisturbed run | |", "|---|---|"]
    lines += [f"| {what} | {'the same bits' if same else '**differs**'} |" for what, same in found]
    return "\n".join([*lines, "", provenance(call)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one without it")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="killed-worker-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = measure(folder, args.kills, args.seed)
    call = f"python benchmarks/killed_worker.py --kills {args.kills} --seed {args.seed}"
    body = report(*measured, call)
    print(body)
    if args.write_docs:
        write_section(PAGE, "killed_worker", "Workers killed while they train", body)
    sys.exit(0 if all(same for _, same in measured[1]) else 1)


if __name__ == "__main__":
    main()
