"""Training speed of our step beside other libraries' on the same model, in one interleaved run.

    python benchmarks/train_speed.py --models s,m --peers transformers,litgpt --write-docs
    python benchmarks/train_speed.py --models s --compile-times --rows rows.jsonl
    python benchmarks/train_speed.py --models s --peers transformers:eager,transformers:compiled

A peer's name alone is its fastest setting found; `name:setting` is one of `SETTINGS`. The peers
run with `--peer-python` (an environment with requirements/train-peers.txt) or this interpreter;
nanochat, which is no package, with `--nanochat DIR`, a clone. One JSON line a row.

Every implementation has a process of its own with all threads, stopped by a signal while others
have their turn. A turn is one untimed step, which brings back what the processor's caches and the
system took meanwhile, and `--steps` timed ones, from random ids to updated masters. A turn during
which other processes had more than 5 % of the machine is taken again and printed apart. Medians
are compared, all samples printed. Run it on a quiet machine.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, ROOT, provenance
from train_table import OURS, table, write_parts
from turns import Runner

from openqwen.core.runtime import child_environment, count_processors, environment, pick_dtype
from openqwen.model.config import ModelConfig, count_parameters
from openqwen.recipes import BUILTIN
from openqwen.tokenizer.control import NUM_EXTRA, padded_rows
from openqwen.train.throughput import flops_per_token

# glibc hands freed blocks back to the system and gets new ones page by page, which costs some
# peers half of their time; this keeps them
KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
SETTINGS = {
    "eager": "eager",
    "eager-kept": "eager, freed memory kept",
    "compiled": "compiled",
    "compiled-kept": "compiled, freed memory kept",
}
FASTEST = "compiled-kept"
STEPS = {"s": 2, "m": 1, "tiny": 4}  # a turn, by default

QUIET_SHARE = 0.05  # of the machine; a turn during which others had more is taken again
PATIENCE = 4  # times

Job = dict[str, Any]
Row = dict[str, Any]


def job_of(name: str) -> Job:
    """Return shape and batch of a model, as the children are told them."""
    common = {"threads": count_processors(), "model": name}
    shapes = {"s": (384, 6, 6, 1024), "m": (768, 12, 12, 2048)}  # contracts: vocabulary 32,768
    if name in shapes:
        hidden, layers, heads, ffn = shapes[name]
        sizes = {"vocab_size": 32_768, "context": 1024, "sequences": 4, "micro_sequences": 2}
    elif name in BUILTIN:
        recipe = BUILTIN[name]()
        model = recipe.base.model
        hidden, layers, heads = (
            model.hidden_size,
            model.num_hidden_layers,
            model.num_attention_heads,
        )
        ffn = -(-8 * hidden // (3 * 128)) * 128
        sizes = {
            "vocab_size": padded_rows(recipe.tokenizer.num_ranks + 3 + NUM_EXTRA),
            "context": recipe.shards.context_length,
            "sequences": recipe.base.sequences_per_step,
            "micro_sequences": recipe.base.micro_sequences,
        }
    else:
        raise SystemExit(f"--models {name}: there is s, m and {', '.join(BUILTIN)}")
    shape = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
    }
    return common | shape | sizes


def shape_of(job: Job) -> ModelConfig:
    """Return the job's shape as our own setting."""
    return ModelConfig(
        vocab_size=job["vocab_size"],
        hidden_size=job["hidden_size"],
        num_hidden_layers=job["num_hidden_layers"],
        num_attention_heads=job["num_attention_heads"],
        num_key_value_heads=job["num_attention_heads"],
        head_dim=job["hidden_size"] // job["num_attention_heads"],
        intermediate_size=job["intermediate_size"],
        train_length=job["context"],
    )


def start(
    name: str,
    job: Job,
    args: argparse.Namespace,
    *,
    caches: Path | None = None,
    tree: str = "",
) -> Runner:
    """Start an implementation; `name` is openqwen, or peer:setting.

    Args:
        name: which.
        job: shape, batch, threads.
        args: the command's.
        caches: a folder for compiled code in place of the usual ones.
        tree: another checkout whose openqwen trains.
    """
    peer, _, setting = name.partition(":")
    changes = {}
    if caches is not None:
        changes = {
            "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
            "OPENQWEN_CACHE": str(caches / "openqwen"),
        }
    folder = Path(__file__).parent
    if peer == OURS:
        command = [sys.executable, str(folder / "train_ours.py")]
        changes["PYTHONPATH"] = os.pathsep.join([tree or str(ROOT), environment("PYTHONPATH")])
    else:
        command = [args.peer_python, str(folder / "train_peers.py")]
        job = job | {"impl": peer, "compiled": setting.startswith("compiled")}
        if setting.endswith("kept"):
            changes["GLIBC_TUNABLES"] = KEPT
        if peer == "nanochat":
            job["nanochat"] = args.nanochat
    return Runner([*command, "--job", json.dumps(job)], environment=child_environment(**changes))


@contextlib.contextmanager
def started(names: list[str], job: Job, args: argparse.Namespace) -> Iterator[dict[str, Runner]]:
    """Start all implementations, end them in any case."""
    runners: dict[str, Runner] = {}
    try:
        for name in names:
            runners[name] = start(name, job, args)
        yield runners
    finally:
        for runner in runners.values():
            runner.close()


def first_steps(runner: Runner, job: Job) -> float:
    """Take two steps; return the seconds spent before the second: compiling, making the model.

    The second's time, which a step takes anyway, is taken off.
    """
    first = runner.ask({"task": "steps", "count": 1})
    second = runner.ask({"task": "steps", "count": 1})
    at_random = math.log(job["vocab_size"])
    if abs(first["losses"][0] - at_random) > 0.5:
        raise SystemExit(f"a first loss of {first['losses'][0]:.2f} where {at_random:.2f} is due")
    return max(0.0, runner.about["making_seconds"] + first["seconds"] - second["seconds"])


def compile_times(name: str, job: Job, args: argparse.Namespace) -> Row:
    """Return the seconds before a second step, with empty caches and again in a second process."""
    with tempfile.TemporaryDirectory() as caches:
        extra = []
        for _ in range(2):
            with start(name, job, args, caches=Path(caches)) as runner:
                extra.append(round(first_steps(runner, job), 2))
    return identity(name, job) | {"compile_seconds": extra[0], "compile_seconds_cached": extra[1]}


def identity(name: str, job: Job) -> Row:
    peer, _, setting = name.partition(":")
    return {"model": job["model"], "impl": peer, "setting": SETTINGS.get(setting, "as it trains")}


def busy_seconds() -> float:
    """Return processor seconds that anybody on this machine has used since it started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _, _, irq, soft, steal = fields
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def watched(runner: Runner, question: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Ask, and return the answer and which share of the machine others had meanwhile."""
    before, began = busy_seconds(), time.perf_counter()
    answer = runner.ask(question)
    took = time.perf_counter() - began
    others = busy_seconds() - before - answer["cpu_seconds"]
    return answer, max(0.0, others / (took * count_processors()))


def wait_for_quiet(seconds: float) -> None:
    """Sleep until the machine is idle for half a second, for a while at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(0.5)
        if busy_seconds() - before < QUIET_SHARE * 0.5 * count_processors():
            return


def take_turn(runner: Runner, steps: int, turns: list[dict[str, Any]], end: float) -> None:
    """Take turns until one is undisturbed; add all. The last of `PATIENCE` counts anyway.

    Args:
        runner: whose turn it is.
        steps: timed steps.
        turns: takes what happened.
        end: when there is no time for another try, by the monotonic clock.
    """
    for attempt in range(PATIENCE):
        if attempt:
            wait_for_quiet(10)
        runner.ask({"task": "steps", "count": 1})
        answer, share = watched(runner, {"task": "steps", "count": steps})
        turns.append(answer | {"others": share, "counts": share < QUIET_SHARE})
        said = f"{answer['seconds'] / steps:.2f} s a step, others had {share:.0%}"
        print(f"{' '.join(runner.command[1:2])}: {said}", file=sys.stderr, flush=True)
        if turns[-1]["counts"] or time.monotonic() > end:
            break
    turns[-1]["counts"] = True


def measured_peak(runner: Runner, end: float) -> dict[str, Any]:
    """Return the products' rates, of an undisturbed measurement if there is one."""
    for _ in range(PATIENCE):
        answer, share = watched(runner, {"task": "peak"})
        if share < QUIET_SHARE or time.monotonic() > end:
            break
        wait_for_quiet(5)
    return answer | {"others": share}


def measure(names: list[str], job: Job, args: argparse.Namespace) -> list[Row]:
    """Return one row an implementation; the samples are interleaved."""
    steps = args.steps or STEPS.get(job["model"], 1)
    end = time.monotonic() + args.seconds
    with started(names, job, args) as runners:
        extra = {name: round(first_steps(runner, job), 2) for name, runner in runners.items()}
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(args.rounds):
            if number and time.monotonic() > end:
                break
            for name, runner in runners.items():
                take_turn(runner, steps, turns[name], end)
        memory = {name: r.ask({"task": "memory"})["bytes"] for name, r in runners.items()}
        peak = measured_peak(runners[OURS], end)
        versions = {name: runner.about["versions"] for name, runner in runners.items()}
    flops = flops_per_token(shape_of(job), job["context"])
    tokens = steps * job["sequences"] * job["context"]
    rows = []
    for name in names:
        samples = [round(tokens / t["seconds"], 1) for t in turns[name] if t["counts"]]
        disturbed = [round(tokens / t["seconds"], 1) for t in turns[name] if not t["counts"]]
        rate = statistics.median(samples)
        row = identity(name, job) | {
            "tokens_per_s": round(rate, 1),
            "samples": samples,
            "disturbed_samples": disturbed,
            "others_share": [round(t["others"], 3) for t in turns[name]],
            "peak_memory_bytes": memory[name],
            "compile_seconds": None,
            "compile_seconds_cached": extra[name],
            "last_loss": round(turns[name][-1]["losses"][-1], 4),
            "share_of_peak": round(rate * flops / peak["flops_per_s"], 4),
            "peak_tflops": round(peak["flops_per_s"] / 1e12, 3),
            "best_shape_tflops": round(peak["best_flops_per_s"] / 1e12, 3),
            "best_shape": peak["best_shape"],
            "peak_others_share": round(peak["others"], 3),
            "versions": versions[name],
        }
        rows.append(row)
    return rows


def same(one: Row, other: Row) -> bool:
    return all(one[key] == other[key] for key in ("model", "impl", "setting"))


def completed(rows: list[Row], path: Path | None) -> list[Row]:
    """Fill compile times in from an earlier `--compile-times` kept in `path`."""
    if path is None or not path.is_file():
        return rows
    known = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        for earlier in known:
            if same(row, earlier) and earlier.get("compile_seconds") is not None:
                row["compile_seconds"] = earlier["compile_seconds"]
                row["compile_seconds_cached"] = earlier["compile_seconds_cached"]
    return rows


OPENING = """Random tokens, bfloat16 with float32 masters, AdamW, clipping at 1; each implementation
in a process of its own, interleaved. A peer trains at the fastest of its settings that was found:
*freed memory kept* means that glibc doesn't hand freed blocks back to the system. Samples in
brackets were taken while other processes had more than 5 % of the machine; they don't count and
were taken again. Peak memory is the process's highest resident size after its first step, above
what its imports took. Until the second step: making the model, compiling, the first step, with
empty caches and in a second process. The share is of the time-weighted rate of the model's own
matrix products, measured in the same run."""


def document(rows: list[Row], job: Job, args: argparse.Namespace, command: str) -> None:
    """Write one model's part of the section."""
    heading = f"{job['model']}, {count_parameters(shape_of(job)):,} parameters"
    if any(":" in peer for peer in args.peers.split(",")):
        heading += ", peers' other settings"
    batch = f"{job['sequences']} sequences of {job['context']} tokens a step"
    where = f"{batch}, {job['threads']} threads, torch {torch.__version__}. {provenance(command)}"
    body = f"{table(rows)}\n\n{where}"
    write_parts(PERFORMANCE, "train_speed", "Pretraining speed", OPENING, {heading: body})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="s,m", help="of s, m, tiny")
    parser.add_argument("--peers", default="transformers", help='names or name:setting, or ""')
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--nanochat", default="", help="folder of a nanochat clone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=300, help="a model's time; no round begins after it"
    )
    parser.add_argument("--steps", type=int, default=0, help="timed steps a turn; 0: by the model")
    parser.add_argument(
        "--compile-times", action="store_true", help="only first steps, cold caches"
    )
    parser.add_argument("--rows", type=Path, help="a file that rows are added to and known from")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if pick_dtype("auto", torch.device("cpu")) is not torch.bfloat16:
        print("note: this processor has no native bfloat16; all sides are slow", file=sys.stderr)
    peers = [p if ":" in p else f"{p}:{FASTEST}" for p in args.peers.split(",") if p]
    for peer in peers:
        if peer.partition(":")[2] not in SETTINGS:
            raise SystemExit(f"--peers {peer}: the settings are {', '.join(SETTINGS)}")
        if peer.startswith("nanochat") and not args.nanochat:
            raise SystemExit("--peers nanochat needs --nanochat DIR, a clone of its repository")
    for name in args.models.split(","):
        job, names = job_of(name), [OURS, *peers]
        if args.compile_times:
            rows = [compile_times(one, job, args) for one in names]
        else:
            rows = completed(measure(names, job, args), args.rows)
        for row in rows:
            print(json.dumps(row), flush=True)
        if args.rows is not None:
            with args.rows.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        if args.write_docs and not args.compile_times:
            python = " --peer-python PYTHON" if args.peer_python != sys.executable else ""
            command = f"python benchmarks/train_speed.py --models {name} --peers {args.peers}"
            document(rows, job, args, f"{command}{python} --rounds {args.rounds}")


if __name__ == "__main__":
    main()
