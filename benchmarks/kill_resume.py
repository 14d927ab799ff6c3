"""A run killed by SIGKILL in every stage beside an undisturbed one: equal weights, bit for bit?

    python benchmarks/kill_resume.py --recipe tiny --whole runs/tiny --seed 7 --write-docs

`--whole` is a finished undisturbed run (made if missing). A second run is killed at moments drawn
from the seed, once in every stage and `--base-kills` times in base, started again each time, and
finished. Then the sha256 of every safetensors file, tokenizer and shard is compared.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, provenance, write_section

from openqwen.core.files import sha256_file
from openqwen.core.log import format_duration, read_metrics
from openqwen.core.manifest import Manifest
from openqwen.lineage.registry import STAGES
from openqwen.train.checkpoint import FACTS
from openqwen.train.loop import checkpoints_of

COMPARED = (".safetensors", ".npy", ".tiktoken", "tokenizer.json", ".parquet")


def command(recipe: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "openqwen", "run", recipe, "--out", str(out)]


def kill_once(recipe: str, out: Path, stage: str, after_s: float) -> dict:
    """Start the run, wait until `stage` has worked for `after_s`, kill it, tell where it stood."""
    marker = out / stage / "started.json"  # written at every start of the stage
    before = marker.stat().st_mtime_ns if marker.is_file() else 0
    process = subprocess.Popen(
        command(recipe, out), stdout=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None:
        if marker.is_file() and marker.stat().st_mtime_ns != before:
            break
        time.sleep(0.01)
    deadline = time.monotonic() + after_s
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    steps = [p.parent.name for p in checkpoints_of(out / stage).glob(f"*/{FACTS}")]
    return {
        "stage": stage,
        "after_s": after_s,
        "finished_before": (out / stage / "manifest.json").is_file(),
        "checkpoint": max(steps, default="").removeprefix("step-").lstrip("0"),
        "step": max((r["step"] for r in read_metrics(out / stage / "metrics.jsonl")), default=None),
    }


def compared_hashes(run: Path) -> dict[str, str]:
    return {
        path.relative_to(run).as_posix(): sha256_file(path)
        for path in sorted(run.rglob("*"))
        if path.name.endswith(COMPARED) and "replaced" not in path.parts
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--whole", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--killed", type=Path, default=Path("runs/killed"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--base-kills", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    subprocess.run(command(args.recipe, args.whole), check=True)
    shutil.rmtree(args.killed, ignore_errors=True)
    draw = random.Random(args.seed)
    rows = []
    for stage in STAGES:
        seconds = Manifest.read(args.whole / stage).seconds
        is_base = stage == "base"  # its kills lie apart, so that checkpoints are there to resume
        for _ in range(args.base_kills if is_base else 1):
            share = draw.uniform(0.15, 0.45) if is_base else draw.uniform(0, 0.8)
            rows.append(kill_once(args.recipe, args.killed, stage, share * seconds))
            print(rows[-1], flush=True)
    subprocess.run(command(args.recipe, args.killed), check=True)
    whole, killed = compared_hashes(args.whole), compared_hashes(args.killed)
    lines = ["| killed in | after | stage's whole time | newest checkpoint |", "|---|---|---|---|"]
    for row in rows:
        seconds = Manifest.read(args.whole / row["stage"]).seconds
        note = " (had just finished)" if row["finished_before"] else ""
        lines.append(
            f"| {row['stage']}{note} | {row['after_s']:.1f} s | {format_duration(seconds)} | "
            f"{row['checkpoint'] or '–'} |"
        )
    lines += ["", "| file | sha256, undisturbed | killed and resumed |", "|---|---|---|"]
    for name in sorted(whole.keys() | killed.keys()):
        mine, theirs = whole.get(name, "missing"), killed.get(name, "missing")
        verdict = "the same" if mine == theirs else f"**differs**: {theirs[:16]}…"
        lines.append(f"| {name} | {mine[:16]}… | {verdict} |")
    same = whole == killed
    lines += ["", f"{len(rows)} kills by SIGKILL, seed {args.seed}: "]
    lines[-1] += "every file is the same." if same else "**not every file is the same.**"
    call = f"python benchmarks/kill_resume.py --recipe {args.recipe} --seed {args.seed}"
    body = "\n".join([*lines, "", provenance(call)])
    print(body)
    if args.write_docs:
        write_section(PERFORMANCE, "kill_resume", "Killed and resumed", body)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
