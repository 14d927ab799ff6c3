"""Generation speed of ours beside llama.cpp, OpenVINO GenAI and transformers, in one run.

    python benchmarks/generation_speed.py model.gguf --peer-python PYTHON --write-docs

The real 0.5B model (`openqwen fetch qwen2.5-coder-0.5b`), prompts cut from the standard library's
own text. Each variant of ours and each peer is a process of its own; they take turns (A-B-A-B), one
runs at a time, all get the same ids, and every sample is printed. The peers' environment needs
torch and requirements/peers.txt; their files are made from the model (`--files`). In the same run:
memory's reading rate, the rate of the model's matrix products, and the time of a cold process to
its first token. About 12 minutes with five rounds and all peers; run it on a quiet machine.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from ceilings import Products, new_buffer, prefill_flops, read_bytes_per_s
from generation_files import gguf_weight_bytes, prepare
from generation_table import body
from results import PERFORMANCE, provenance, write_section
from turns import Runner

from openqwen.core.runtime import child_environment, count_processors
from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.tokenizer import Tokenizer

HERE = Path(__file__).parent
OURS = ("bf16", "int8", "int4")
PEERS = {  # name -> (kind of peer, form of the model)
    "llama.cpp Q8_0": ("llama.cpp", "q8_0"),
    "llama.cpp Q4_K_M": ("llama.cpp", "gguf"),
    "llama.cpp Q4_0": ("llama.cpp", "q4_0"),
    "OpenVINO Q8_0": ("openvino", "q8_0"),
    "OpenVINO Q4_0": ("openvino", "q4_0"),
    "transformers bf16": ("transformers", "bf16"),
    "xllamacpp Q8_0": ("xllamacpp", "q8_0"),
    "xllamacpp Q4_K_M": ("xllamacpp", "gguf"),
}
DEFAULT_PEERS = [name for name in PEERS if not name.startswith("xllamacpp")]


@dataclass(frozen=True)
class Task:
    """What everyone does in turn: prompts of `length` tokens, then `new_tokens` a sequence."""

    name: str
    sequences: int
    length: int
    new_tokens: int


TASKS = (
    Task("prefill 512", 1, 512, 0),
    Task("prefill 2,048", 1, 2048, 0),
    Task("decode 1", 1, 32, 64),
    Task("decode 8", 8, 32, 64),
)


def text_ids(model: Path, wanted: int) -> list[int]:
    """Return ids of real text: the standard library's modules one after the other."""
    tokenizer, ids = Tokenizer.from_file(model), []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        ids += tokenizer.encode(path.read_text(encoding="utf-8", errors="replace"))
        if len(ids) >= wanted:
            break
    return ids[:wanted]


def prompts_of(task: Task, ids: list[int], round_: int) -> list[list[int]]:
    """Return prompts that no earlier round has used, so that no cache can help."""
    starts = [round_ * 3001 + i * 311 + task.sequences for i in range(task.sequences)]
    return [ids[s : s + task.length] for s in starts]


def start_runners(args: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, Runner]:
    """Start every process; they load one after the other and stand still."""
    runners = {}
    threads = ["--threads", str(args.threads)]
    for variant in [v for v in args.variants.split(",") if v]:
        command = [sys.executable, str(HERE / "generation_ours.py"), "--variant", variant]
        runners[f"openqwen {variant}"] = stack.enter_context(
            Runner(
                [*command, "--model", str(args.model), *threads],
                environment=child_environment(PYTHONPATH=str(HERE.parent)),
            )
        )
    if args.peer_python:
        files = prepare(args.model, args.files)
        for name in [p for p in args.peers.split(",") if p]:
            kind, form = PEERS[name]
            command = [args.peer_python, str(HERE / "generation_peers.py"), "--peer", kind]
            runners[name] = stack.enter_context(
                Runner([*command, "--model", str(files[form]), *threads])
            )
            if form != "bf16":
                runners[name].about["weight_bytes"] = gguf_weight_bytes(files[form])
    for name, runner in runners.items():
        say({"who": name} | runner.about)
    return runners


def measure(runners: dict[str, Runner], ids: list[int], rounds: int) -> list[dict[str, Any]]:
    """Return one row a task and runner, with all samples in tokens/s; the first round warms up."""
    rows = []
    for task in TASKS:
        samples: dict[str, list[float]] = {name: [] for name in runners}
        first: dict[str, list[int]] = {}
        for round_ in range(rounds + 1):
            question = {"prompts": prompts_of(task, ids, round_), "new_tokens": task.new_tokens}
            for name, runner in runners.items():
                answer = runner.ask(question)
                if round_:
                    samples[name].append(answer["tokens"] / answer["seconds"])
                if round_ == 1 and answer["ids"]:
                    first[name] = answer["ids"]
        for name, values in samples.items():
            row = {
                "task": task.name,
                "who": name,
                "tokens_per_s": round(statistics.median(values), 1),
                "samples": [round(value, 1) for value in values],
                "first_ids": first.get(name, [])[:8],  # to see that all compute the same model
            }
            say(row)
            rows.append(row)
    return rows


def measure_ceilings(model: Path, variants: list[str], rounds: int) -> dict[str, Any]:
    """Return the highest reading rate and product rates of the rounds, and FLOPs of the prompts."""
    config = read_checkpoint(model).config
    buffer = new_buffer()
    products = {variant: Products(config, variant) for variant in variants}
    reads: list[float] = []
    rates: dict[str, list[float]] = {variant: [] for variant in variants}
    for round_ in range(rounds + 1):
        rate = read_bytes_per_s(buffer)
        for variant, layers in products.items():
            flops = layers.flops_per_s(512)
            if round_:
                rates[variant].append(flops)
        if round_:
            reads.append(rate)
    found = {
        "read_bytes_per_s": max(reads),
        "read_samples_gb_per_s": [round(r / 1e9, 1) for r in reads],
        "product_flops_per_s": {variant: max(values) for variant, values in rates.items()},
        "prompt_flops": {
            t.name: prefill_flops(config, t.length) for t in TASKS if not t.new_tokens
        },
    }
    say(found)
    return found


def measure_cold_start(model: Path, variants: list[str], rounds: int) -> dict[str, list[float]]:
    """Return seconds from process start to the first token's text; the first one converts.

    Uses a cache of its own, empty at first; the file itself is in the system's page cache.
    """
    found: dict[str, list[float]] = {}
    words = [sys.executable, "-m", "openqwen", "generate", "--help"]
    can_quantise = "--quantize" in subprocess.run(words, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as cache:
        for variant in variants if can_quantise else ["bf16"]:
            command = [sys.executable, "-m", "openqwen", "generate", str(model), "Hello"]
            command += ["--max-new-tokens", "1", "--greedy"]
            if variant != "bf16":
                command += ["--quantize", variant]
            environment = child_environment(PYTHONPATH=str(HERE.parent), OPENQWEN_CACHE=cache)
            found[variant] = []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
                assert process.stdout is not None
                first = process.stdout.read(1)
                found[variant].append(round(time.perf_counter() - start, 2))
                if process.wait() or not first.strip(b"\n"):
                    raise SystemExit(f"{' '.join(command[1:])} gave no token")
    say({"cold_start_s": found})
    return found


def say(row: dict[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the GGUF file of the real model")
    parser.add_argument("--peer-python", help="python of the peers' environment; none: ours alone")
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help=", ".join(PEERS))
    parser.add_argument("--variants", default=",".join(OURS))
    parser.add_argument("--files", type=Path, default=Path("peer-files"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=count_processors())
    parser.add_argument("--no-cold-start", action="store_true")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    variants = [v for v in args.variants.split(",") if v]
    ids = text_ids(args.model, (args.rounds + 1) * 3001 + 4096)
    with contextlib.ExitStack() as stack:
        runners = start_runners(args, stack)
        rows = measure(runners, ids, args.rounds)
        about = {name: runner.about for name, runner in runners.items()}
    ceilings = measure_ceilings(args.model, variants, args.rounds)
    cold = {} if args.no_cold_start else measure_cold_start(args.model, variants, args.rounds)
    if args.write_docs:
        command = f"python benchmarks/generation_speed.py {args.model.name} --rounds {args.rounds}"
        command += " --peer-python PYTHON" if args.peer_python else ""
        text = body(rows, about, ceilings, cold, threads=args.threads)
        write_section(
            PERFORMANCE, "generation_speed", "Generation speed", f"{text}\n\n{provenance(command)}"
        )


if __name__ == "__main__":
    main()
