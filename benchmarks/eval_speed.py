"""Evaluation beside the harness's own transformers backend: equal scores, and how much faster.

    OPENQWEN_DATA=… python benchmarks/eval_speed.py DIR --measure agreement,speed --write-docs

DIR is the model in Qwen2's layout (`openqwen convert FILE.gguf DIR --to qwen2 --type bf16`), read
by both sides. Measurements are added to `--samples FILE`, so that several short runs make one
table; sides take turns within each round. `--batches` and `--count` sweep the backend's batches.
"""

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eval_items import generation_items, score_items
from results import ROOT, provenance, write_section
from turns import Runner

from openqwen.core.runtime import development_data

PAGE = ROOT / "docs" / "evaluation_speed.md"
SCORING = {"choices140": 12, "choices120": 12, "mmlu": 30}  # questions of each
GENERATING = {"gsm8k": 32, "humaneval": 32}
AGREEMENT = {"hellaswag": (70, 0), "arc": (80, 0), "mmlu": (25, 3), "cmmlu": (25, 3)}
TITLES = {
    "choices140": "4 choices × 160 tokens, 140 of them shared",
    "choices120": "4 choices × 160 tokens, 120 of them shared",
    "mmlu": "MMLU, 5 shots, 3 subjects",
    "gsm8k": "GSM8K, 8 shots, at most 256 new",
    "humaneval": "HumanEval, at most 256 new",
}
FLOORS = {"score": 4.0, "generate": 3.0}
HOW = {
    "wall": "Two threads a side.",
    "cpu": "Other work shared the machine: processor time counts, one thread an operation.",
}


def question_of(kind: str, data: Path, count: int) -> dict[str, Any]:
    """Return what both sides are asked."""
    if kind in SCORING:
        items = score_items(kind, data, count=count, seed=0)
        return {"task": "score", "requests": [request for item in items for request in item]}
    prompts, settings = generation_items(kind, data, count=count, seed=0)
    return {"task": "generate", "prompts": prompts, "settings": settings}


def open_sides(stack: ExitStack, arguments: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Start a process a side; a name is side-dtype."""
    sides = {}
    for name in names:
        side, dtype = name.split("-")
        python = arguments.peer_python if side == "harness" else sys.executable
        command = [python, str(Path(__file__).parent / "eval_sides.py"), "--side", side]
        command += ["--model", str(arguments.model), "--dtype", dtype]
        command += ["--threads", str(arguments.threads)]
        sides[name] = stack.enter_context(Runner(command))
    return sides


def measure_speed(arguments: argparse.Namespace, data: Path, keep: Any) -> None:
    """Let the sides take turns on every kind of items."""
    batches = json.loads(arguments.batches)
    with ExitStack() as stack:
        sides = open_sides(stack, arguments, arguments.sides.split(","))
        for _ in range(arguments.rounds):
            for kind in arguments.kinds.split(","):
                count = arguments.count or (SCORING | GENERATING)[kind]
                question = question_of(kind, data, count)
                for name, side in sides.items():
                    own = batches[kind] if name.startswith("harness") else [0]
                    for batch in own:
                        answer = side.ask(question | {"batch": batch})
                        row = {"what": "speed", "kind": kind, "side": name, "batch": batch}
                        row |= {"count": count, "seconds": answer["seconds"], "cpu": answer["cpu"]}
                        keep(row | {"tokens": answer["tokens"], "versions": side.about})


def measure_agreement(arguments: argparse.Namespace, data: Path, keep: Any) -> None:
    """Score the same questions on both sides in float32 and keep the differences."""
    with ExitStack() as stack:
        sides = open_sides(stack, arguments, ["harness-float32", "ours-float32"])
        for kind, (count, shots) in AGREEMENT.items():
            items = score_items(kind, data, count=count, seed=1, shots=shots)
            requests = [request for item in items for request in item]
            question = {"task": "score", "requests": requests, "batch": 4}
            theirs, ours = (side.ask(question)["found"] for side in sides.values())
            pairs = list(zip(ours, theirs, strict=True))
            row = {"what": "agreement", "kind": kind, "shots": shots, "items": len(items)}
            row["gaps"] = [abs(one[0] - other[0]) for one, other in pairs]
            row["greedy_differs"] = sum(one[1] != other[1] for one, other in pairs)
            keep(row | {"versions": sides["harness-float32"].about})


def agreement_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of differences; a kind measured again counts once."""
    latest = {row["kind"]: row for row in rows if row["what"] == "agreement"}
    if not latest:
        return []
    lines = [
        "### Agreement",
        "",
        "| task | shots | items | choices | largest difference | median |",
    ]
    lines += ["greedy differs |", "|---|---|---|---|---|---|---|"]
    lines[2:4] = [lines[2] + " " + lines[3]]
    every: list[float] = []
    for kind, row in latest.items():
        gaps = row["gaps"]
        every += gaps
        lines.append(
            f"| {kind} | {row['shots']} | {row['items']} | {len(gaps)} | {max(gaps):.1e} | "
            f"{statistics.median(gaps):.1e} | {row['greedy_differs']} |"
        )
    verdict = "held" if max(every) <= 1e-3 else "**not held**"
    count = sum(row["items"] for row in latest.values())
    lines += [
        "",
        f"Log-likelihoods in nats, both sides in float32 from the same file (how the backend sums "
        f"its log-softmax: above), {count} items of "
        f"seed 1: at most {max(every):.1e} apart, median {statistics.median(every):.1e}; "
        f"to hold 1e-3: {verdict}.",
        "",
    ]
    return lines


def rate(row: dict[str, Any], by: str) -> float:
    """Return items a second: of the clock, or of the processors' time."""
    return float(row["count"] / row["seconds" if by == "wall" else "cpu"])


def speed_lines(rows: list[dict[str, Any]], by: str) -> list[str]:
    """Return the table of rates: the harness's side at its fastest batch size, all samples."""
    unit = "items/s" if by == "wall" else "items a CPU second"
    lines = ["### Speed", "", f"| items | side | {unit}, median | all samples | ratio | floor |"]
    lines += ["|---|---|---|---|---|---|"]
    speeds = [row for row in rows if row["what"] == "speed" and (by == "wall" or "cpu" in row)]
    for kind in (*SCORING, *GENERATING):
        own = [row for row in speeds if row["kind"] == kind]
        count = max((row["count"] for row in own), default=0)
        rates: dict[tuple[str, int], list[float]] = {}
        for row in own:
            if row["count"] == count:
                rates.setdefault((row["side"], row["batch"]), []).append(rate(row, by))
        theirs = [key for key in rates if key[0].startswith("harness")]
        if not theirs:
            continue
        best = max(theirs, key=lambda key: statistics.median(rates[key]))
        floor = FLOORS["score" if kind in SCORING else "generate"]
        for (side, batch), found in rates.items():
            if batch and (side, batch) != best:
                continue
            times = statistics.median(found) / statistics.median(rates[best])
            reached = "reached" if times >= floor else "**short**"
            lines.append(
                f"| {TITLES[kind]}, {count} | {f'harness, batch {batch}' if batch else side} | "
                f"{statistics.median(found):.2f} | {', '.join(f'{x:.2f}' for x in found)} | "
                f"{'–' if batch else f'{times:.1f} ×'} | "
                f"{f'{floor:.0f} ×: {reached}' if side == 'ours-bfloat16' else '–'} |"
            )
    tried = tried_batches(speeds, by)
    return [*lines, "", f"Batch sizes tried on the harness's side, {unit}: {tried}."]


def tried_batches(speeds: list[dict[str, Any]], by: str) -> str:
    """Return the best rate of every batch size of the harness's side, in words."""
    best: dict[tuple[str, int, int], float] = {}
    for row in speeds:
        if row["side"].startswith("harness"):
            key = row["kind"], row["count"], row["batch"]
            best[key] = max(best.get(key, 0.0), rate(row, by))
    return "; ".join(
        f"{kind} ({count} items) {batch}: {found:.2f}"
        for (kind, count, batch), found in sorted(best.items())
    )


def write_docs(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the section of the page."""
    about = {name: value for row in rows for name, value in row["versions"].items()}
    versions = ", ".join(f"{name} {about[name]}" for name in ("lm_eval", "transformers", "torch"))
    command = f"python benchmarks/eval_speed.py DIR --by {arguments.by} --write-docs"
    lines = [
        "Qwen2.5-Coder-0.5B-Instruct, the same file, texts and prompts on both sides, "
        "both through the harness's interface, tokenizing in it; bfloat16 unless a row says "
        "otherwise, sides in turns. The harness's backend runs at the fastest batch size that was "
        f"tried. {HOW[arguments.by]}",
        "",
        *agreement_lines(rows),
        *speed_lines(rows, arguments.by),
        "",
        f"{versions}. {provenance(command)}",
    ]
    if not PAGE.is_file():
        PAGE.write_text("# Evaluation speed\n", encoding="utf-8")
    write_section(PAGE, "eval_speed", "Beside the harness's own backend", "\n".join(lines))


def main() -> None:
    """Measure what is asked for; write the page where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--measure", default="", help="agreement, speed or both")
    parser.add_argument("--samples", type=Path, default=Path("eval_speed.jsonl"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kinds", default=",".join((*SCORING, *GENERATING)))
    parser.add_argument("--sides", default="harness-bfloat16,ours-bfloat16,ours-int8")
    parser.add_argument("--count", type=int, default=0, help="items of each kind; 0: the full ones")
    parser.add_argument(
        "--batches",
        default=json.dumps({kind: [1 if kind == "mmlu" else 16] for kind in SCORING | GENERATING}),
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="has lm-eval, transformers, accelerate"
    )
    parser.add_argument("--by", choices=("wall", "cpu"), default="wall", help="which time counts")
    parser.add_argument("--write-docs", action="store_true")
    arguments = parser.parse_args()
    data = development_data()
    if data is None:
        raise SystemExit("OPENQWEN_DATA must name the folder with benchmarks/")

    def keep(row: dict[str, Any]) -> None:
        with arguments.samples.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        shown = {k: v for k, v in row.items() if k not in ("gaps", "versions")}
        print(json.dumps(shown), max(row["gaps"]) if "gaps" in row else "", flush=True)

    if "agreement" in arguments.measure:
        measure_agreement(arguments, data, keep)
    if "speed" in arguments.measure:
        measure_speed(arguments, data, keep)
    if arguments.write_docs:
        lines = arguments.samples.read_text(encoding="utf-8").splitlines()
        write_docs(arguments, [json.loads(line) for line in lines])


if __name__ == "__main__":
    main()
