"""One pretraining killed by SIGKILL in each of its phases beside an undisturbed one: equal bits?

    python benchmarks/kill_training.py --kills 20 --seed 6 --write-docs

Nothing in the product helps: a watcher polls the run's directory, freezes the process (SIGSTOP)
where files say that a phase is on, looks again, and kills it only if it holds. What and when is
drawn from the seed. Once, the newest checkpoint also gets one bit flipped before the next start.
Then the run is finished and every weight, moment, export file and metric row is compared.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

from openqwen.core.files import sha256_file, write_json
from openqwen.core.manifest import KEPT_NAME, MANIFEST_NAME, Manifest
from openqwen.train.checkpoint import FACTS, TENSORS
from openqwen.train.saving import checkpoints_of, kept_of

PAGE = ROOT / "docs" / "exactness.md"
EVERY, KEEP = 4, 2
TIMES = ("time", "tokens_per_s", "share_of_peak")  # of a metric row
MEASURED = ("peak_flops_per_s", "best_flops_per_s", "best_shape")  # of the manifest's counts
EARLY = ("starting up",)
MIDDLE = (
    "in a step",
    "in a validation",
    "writing a checkpoint",
    "between its two files",
    "removing an old one",
)
LATE = ("writing the export", "just before the manifest")
RECIPE = """
extends = "tiny"
[sources]
paths = [{corpus}]
benchmarks = []
preferences = []
[documents]
skip = ["rules"]
[documents.mixture]
weights = {{}}
[tokenizer]
num_ranks = 2000
[shards]
context_length = 128
[base]
num_steps = {steps}
sequences_per_step = 8
micro_sequences = 4
warmup_steps = 4
log_every_steps = 1
evaluate_every_steps = {every}
checkpoint_every_steps = {every}
evaluation_tokens = 8192
[base.checkpoints]
keep_every_steps = {kept}
asynchronous = {beside}
[base.model]
hidden_size = 256
num_hidden_layers = 4
num_attention_heads = 4
"""


@dataclass
class Job:
    """Where inputs are, and how a pretraining is started."""

    folder: Path
    recipe: Path
    log: list[str] = field(default_factory=list)

    def start(self, out: Path) -> subprocess.Popen:
        call = [sys.executable, "-m", "openqwen", "pretrain", self.recipe, "--out", out]
        call += ["--shards", self.folder / "data", "--tokenizer", self.folder / "data"]
        with (self.folder / "said.txt").open("a") as said:
            return subprocess.Popen([str(part) for part in call], stdout=said, stderr=said)

    def said(self) -> str:
        path = self.folder / "said.txt"
        text = path.read_text() if path.is_file() else ""
        path.unlink(missing_ok=True)
        return text


def steps_for(kills: int) -> int:
    """Return steps enough for all kills; the last one's checkpoint is kept for good."""
    return 4 * EVERY * -(-max(48, 4 * kills) // (4 * EVERY))


def prepare(folder: Path, steps: int, *, beside: bool) -> Job:
    """Make tokenizer and shards of the project's own sources and docs, the same on each machine."""
    corpus = folder / "corpus.jsonl"
    paths = [*(ROOT / "docs").glob("*.md"), *(ROOT / "openqwen").rglob("*.py")]
    rows = [{"text": path.read_text(encoding="utf-8")} for path in sorted(paths)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = folder / "killed.toml"
    text = RECIPE.format(
        corpus=json.dumps(str(corpus)),
        steps=steps,
        every=EVERY,
        kept=4 * EVERY,
        beside=json.dumps(beside),
    )
    recipe.write_text(text, encoding="utf-8")
    call = [sys.executable, "-m", "openqwen", "run", recipe, "--until", "shards"]
    subprocess.run([*call, "--out", folder / "data"], check=True, stdout=subprocess.DEVNULL)
    return Job(folder, recipe)


def last_row(out: Path) -> dict:
    """Return the last whole row of the metric stream."""
    try:
        data = (out / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return {}
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return json.loads(lines[-1]) if lines else {}


def folders(out: Path) -> tuple[list[str], list[str]]:
    """Return the names of the sealed checkpoints and of the others."""
    found = sorted(checkpoints_of(out).glob("step-*"))
    whole = [f.name for f in found if (f / FACTS).is_file()]
    return whole, [f.name for f in found if f.name not in whole]


@dataclass(frozen=True)
class Before:
    """What a start found: the newest whole checkpoint, and files by place, number and time."""

    newest: str
    files: frozenset[tuple[str, int, int]]

    @classmethod
    def of(cls, out: Path) -> "Before":
        whole, _ = folders(out)
        paths = [*checkpoints_of(out).glob("step-*/*"), *out.glob("*")]
        return cls(whole[-1] if whole else "", frozenset(map(_mark, paths)))

    def is_new(self, path: Path) -> bool:
        """Return whether a file is there that was not there, or was another, at the start."""
        try:
            return _mark(path) not in self.files
        except FileNotFoundError:
            return False


def _mark(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_ino, stat.st_mtime_ns


def is_in(phase: str, out: Path, before: Before) -> bool:
    """Return whether the files say that a phase is on, by this start's own doing."""
    if not before.is_new(out / "metrics.jsonl"):
        return False  # every start writes the rows anew that it goes on from
    row = last_row(out)
    whole, others = folders(out)
    newest = whole[-1] if whole else ""
    step = row.get("step", 0)
    if phase == "in a step":
        trained = row.get("kind") == "train" and step % EVERY and step > _step(newest)
        return bool(trained) and newest > before.newest and not others
    if phase == "in a validation":
        return row.get("kind") == "train" and step % EVERY == 0 and step > _step(newest)
    open_ones = [checkpoints_of(out) / name for name in others if name > newest]
    if phase == "writing a checkpoint":
        return any(before.is_new(folder / f"{TENSORS}.partial") for folder in open_ones)
    if phase == "between its two files":
        return any(before.is_new(folder / TENSORS) for folder in open_ones)
    if phase == "removing an old one":
        half = [name for name in others if name < newest]
        return newest > before.newest and (len(whole) > KEEP or bool(half))
    if phase == "writing the export":
        names = ("model.safetensors.partial", "model.safetensors")
        begun = any(before.is_new(out / name) for name in names)
        return begun and not before.is_new(out / "config.json")
    assert phase == "just before the manifest", phase
    return before.is_new(out / "samples.json") and not (out / MANIFEST_NAME).is_file()


def _step(name: str) -> int:
    return int(name.removeprefix("step-") or 0)


def kill_once(job: Job, out: Path, phase: str, draw: random.Random, up_s: float) -> dict:
    """Start the run, kill it in a phase, return where it stood; the run must not get past it."""
    before = Before.of(out)
    process, started = job.start(out), time.monotonic()
    if phase == "starting up":
        time.sleep(draw.uniform(0.1, 0.9) * up_s)
        return _kill(process, out, phase, started)
    lets_pass = draw.randrange(2) if phase in MIDDLE else 0  # the first or the second time
    delay = draw.uniform(0, 0.1) if phase in ("in a step", "in a validation") else 0.0
    seen = ""
    while process.poll() is None:
        if not is_in(phase, out, before):
            continue
        place = str(last_row(out).get("step"))
        if lets_pass:
            lets_pass -= place != seen and bool(seen)
            seen = seen or place
            if lets_pass:
                continue
        time.sleep(delay)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        if is_in(phase, out, before):
            return _kill(process, out, phase, started)
        os.kill(process.pid, signal.SIGCONT)
    raise SystemExit(f"{phase}: the run ended with {process.returncode} before it could be hit")


def _kill(process: subprocess.Popen, out: Path, phase: str, started: float) -> dict:
    process.kill()
    process.wait()
    whole, others = folders(out)
    row = last_row(out)
    return {
        "phase": phase,
        "after_s": round(time.monotonic() - started, 2),
        "row": f"{row.get('kind', 'none')} {row.get('step', '')}".strip(),
        "checkpoints": [_step(name) for name in whole],
        "half": [_step(name) for name in others],
    }


def phases(kills: int, draw: random.Random) -> list[str]:
    """Return the phases in the order they are hit: those of the end last, each at least once."""
    late = max(1, round(0.15 * kills))
    early = max(1, round(0.1 * kills))
    names = draw.sample(MIDDLE, len(MIDDLE))
    middle = [names[i % len(MIDDLE)] for i in range(max(0, kills - late - early))]
    draw.shuffle(middle)
    return [*EARLY * early, *middle, *sorted((LATE * late)[:late], key=LATE.index)]


def flip_a_bit(out: Path, draw: random.Random) -> str:
    """Change one bit of the newest whole checkpoint; return which."""
    newest = folders(out)[0][-1]
    path = checkpoints_of(out) / newest / TENSORS
    place = draw.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ 1 << draw.randrange(8)]))
    return f"bit of byte {place:,} of {newest}/{TENSORS}"


def compare(whole: Path, killed: Path) -> list[tuple[str, str, bool]]:
    """Return what was compared, what it is, and whether it is the same."""
    found = []
    for kept in sorted(kept_of(whole).glob("step-*")):
        other = kept_of(killed) / kept.name
        for name in (TENSORS, FACTS):
            mine, theirs = (_identity(folder / name) for folder in (kept, other))
            found.append((f"{KEPT_NAME}/{kept.name}/{name}", mine, mine == theirs))
    one, two = (Manifest.read(folder) for folder in (whole, killed))
    for name in sorted(one.outputs.keys() | two.outputs.keys()):
        mine, theirs = (_identity(folder / name) for folder in (whole, killed))
        found.append((name, mine, mine == theirs))
    mine, theirs = ({k: v for k, v in m.counts.items() if k not in MEASURED} for m in (one, two))
    found.append(("the manifest's counts", f"{len(mine)} values", mine == theirs))
    return found


def _identity(path: Path) -> str:
    """Return the hash of a file; of metric rows and facts without what differs in time."""
    if not path.is_file():
        return "missing"
    if path.name == FACTS:
        facts = json.loads(path.read_text())
        kept = {k: v for k, v in facts.items() if k not in ("metrics", "seal")}
        return json.dumps(kept, sort_keys=True)
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return json.dumps([{k: v for k, v in row.items() if k not in TIMES} for row in rows])
    return sha256_file(path)


def finish(job: Job, out: Path) -> float:
    started = time.monotonic()
    process = job.start(out)
    if process.wait():
        raise SystemExit(job.said())
    return time.monotonic() - started


def first_checkpoint_s(job: Job, out: Path) -> float:
    """Run undisturbed; return how long the first checkpoint takes."""
    process, started, found = job.start(out), time.monotonic(), 0.0
    while process.poll() is None:
        if not found and folders(out)[0]:
            found = time.monotonic() - started
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(job.said())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--asynchronous", action="store_true", help="save beside the steps")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one without it")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="killed-training-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sys.exit(0 if measure(folder, args) else 1)


def measure(folder: Path, args: argparse.Namespace) -> bool:
    """Do it all, print rows and table; return whether everything was the same."""
    job = prepare(folder, steps_for(args.kills), beside=args.asynchronous)
    draw = random.Random(args.seed)
    whole, killed = folder / "whole", folder / "killed"
    for out in (whole, killed):
        shutil.rmtree(out, ignore_errors=True)
    started = time.monotonic()
    up_s = first_checkpoint_s(job, whole)
    whole_s = time.monotonic() - started
    job.said()
    rows, flipped = [], ""
    plan = phases(args.kills, draw)
    corrupted_after = min(len(plan) - 2, len(plan) // 2)
    for number, phase in enumerate(plan):
        row = kill_once(job, killed, phase, draw, up_s)
        said = job.said()
        if flipped and not any("told" in earlier for earlier in rows):
            line = next((x for x in said.splitlines() if "is damaged" in x), "")
            rows[-1] |= {"flipped": flipped, "told": line.removeprefix("openqwen: ")}
        rows.append(row)
        print(json.dumps(rows[-1]), flush=True)
        if not flipped and number >= corrupted_after and len(row["checkpoints"]) > 1:
            flipped = flip_a_bit(killed, draw)
    finish(job, killed)
    found = compare(whole, killed)
    same = all(equal for _, _, equal in found)
    write_json(folder / "found.json", {"rows": rows, "compared": found})
    body = report(rows, found, whole_s, args)
    print(body)
    if args.write_docs:
        name, title = "kill_training", f"Killed {len(rows)} times"
        if args.asynchronous:
            name, title = f"{name}_beside", f"{title}, checkpoints written beside the steps"
        write_section(PAGE, name, title, body)
    return same


def report(rows: list[dict], found: list, whole_s: float, args: argparse.Namespace) -> str:
    """Return the section: each kill, and what was compared."""
    lines = [
        f"A pretraining of {steps_for(args.kills)} steps ({whole_s:.0f} s undisturbed; a "
        f"validation and a checkpoint every {EVERY} steps, the newest {KEEP} kept) was killed by "
        f"SIGKILL {len(rows)} times, at moments drawn from seed {args.seed}, and started again "
        "each time.",
        "",
        "| killed while | after | last metric row | whole checkpoints | half a checkpoint |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        whole, half = (", ".join(map(str, row[k])) or "–" for k in ("checkpoints", "half"))
        lines.append(f"| {row['phase']} | {row['after_s']} s | {row['row']} | {whole} | {half} |")
    for row in rows:
        if "flipped" in row:
            lines += ["", f"After the kill “{row['phase']}” one {row['flipped']} was flipped; the "]
            lines[-1] += f"next start said: “{row['told'] or 'nothing'}”."
    lines += ["", "| compared with the undisturbed run | sha256 or what | |", "|---|---|---|"]
    for name, what, equal in found:
        short = what if len(what) < 24 else what[:16] + "…" if len(what) == 64 else "JSON"
        lines.append(f"| {name} | {short} | {'the same' if equal else '**differs**'} |")
    same = all(equal for _, _, equal in found)
    lines += [
        "",
        "Every weight, moment and metric row is the same, bit for bit (times and speeds apart).",
    ]
    if not same:
        lines[-1] = "**Not everything is the same.**"
    call = f"python benchmarks/kill_training.py --kills {args.kills} --seed {args.seed}"
    call += " --asynchronous" if args.asynchronous else ""
    return "\n".join([*lines, "", provenance(call)])


if __name__ == "__main__":
    main()
