"""Where a training step's time goes, part by part; columns for commits and steps can be added.

    python benchmarks/train_profile.py --models s,m --label "fused layers" --write-docs
    python benchmarks/train_profile.py --models s --label before --tree CHECKOUT --write-docs
    python benchmarks/train_profile.py --models s --impl litgpt:compiled-kept --label litgpt ...

Operations are timed by torch's profiler on all threads, our kernels by ranges around their calls,
compiled graphs kernel by kernel; each is put down to a part by its range, its name and whether one
of its sides is the vocabulary. `--tree` profiles the package of another checkout. A column replaces
the one of the same label and leaves the others as they are.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, provenance
from train_speed import job_of, start
from train_table import OURS, current_section, parts, write_parts

PARTS = (
    "products of the layers",
    "attention",
    "norms, rotation, SwiGLU, residuals, casts",
    "embedding",
    "head and loss",
    "optimiser, sums of gradients",
    "rest: Python, allocation, waiting",
)
PRODUCTS, ATTENTION, BETWEEN, EMBEDDING, HEAD, OPTIMISER, REST = PARTS
KERNELS = {
    "attend": ATTENTION,
    "attend_backward": ATTENTION,
    "log_probs": HEAD,
    "logit_gradients": HEAD,
    "accumulate": OPTIMISER,
    "square_sum": OPTIMISER,
    "adamw": OPTIMISER,
}
MULTIPLIES = ("mm", "addmm", "bmm", "linear", "matmul", "baddbmm", "_linear_pointwise")
TITLE = "Where a training step's time goes"
OPENING = """One step of 4,096 tokens, milliseconds by part (share of the step). Threads that work
side by side are averaged, so that the parts add up to the step; the rest is what no operation
accounts for. The profiler itself slows a step down a little: compare speeds by the table above."""


def part_of(ranges: str, name: str, shapes: list[list[int]], vocab_size: int) -> str:
    """Return which part of the step an operation belongs to.

    Args:
        ranges: the names it runs inside of, innermost first, joined by " < ".
        name: its own.
        shapes: of its inputs.
        vocab_size: a side of this length means the head.
    """
    chain = [name, *ranges.split(" < ")]
    for link in chain:
        if link.startswith("kernel:"):
            return KERNELS.get(link.removeprefix("kernel:"), BETWEEN)
    if "part:optimiser" in chain or any(link.startswith("Optimizer.") for link in chain):
        return OPTIMISER
    if any("embedding" in link and "fused" not in link for link in chain):
        return EMBEDDING
    if any("flash_attention" in link or "scaled_dot_product" in link for link in chain):
        return ATTENTION
    has_vocabulary = any(vocab_size in shape for shape in shapes)
    if has_vocabulary or "part:head" in chain or "softmax" in name or "nll_loss" in name:
        return HEAD
    if any("TokenLoss" in link for link in chain):
        return HEAD
    if name.split("::")[-1] in MULTIPLIES:
        return PRODUCTS
    if name.startswith(("aten::", "mkldnn")) or "fused" in name:
        return BETWEEN
    return REST


def by_part(answer: dict, vocab_size: int, lanes: int, steps: int) -> dict[str, float]:
    """Return milliseconds a step of each part; they add up to the step.

    Args:
        answer: of a child's profile.
        vocab_size: of the model.
        lanes: threads that work on micro-batches side by side.
        steps: how many were profiled.
    """
    found = dict.fromkeys(PARTS, 0.0)
    for ranges, name, shapes, seconds in answer["operations"]:
        part = part_of(ranges, name, json.loads(shapes), vocab_size)
        found[part] += 1000 * seconds / lanes / steps
    found[REST] = 1000 * answer["seconds"] / steps - sum(
        value for part, value in found.items() if part != REST
    )
    return found


def profile(job: dict, args: argparse.Namespace) -> dict[str, float]:
    """Return an implementation's parts in the round whose step is the middle one, in ms."""
    name = args.impl
    with start(name, job | {"is_profiled": True}, args, tree=args.tree) as runner:
        runner.ask({"task": "steps", "count": 2})
        lanes = job["threads"] if name == OURS else 1
        rounds = []
        for _ in range(args.rounds):
            answer = runner.ask({"task": "profile", "count": 1})
            rounds.append(by_part(answer, job["vocab_size"], lanes, 1))
            if args.operations:
                listed = sorted(answer["operations"], key=lambda o: -o[3])[: args.operations]
                for ranges, what, shapes, seconds in listed:
                    part = part_of(ranges, what, json.loads(shapes), job["vocab_size"])
                    print(f"{1000 * seconds:8.1f}  {part[:22]:22} {what[:60]} {shapes[:80]}")
    middle = sorted(rounds, key=lambda r: sum(r.values()))[len(rounds) // 2]
    return {part: round(middle[part], 1) for part in PARTS}


def columns(body: str) -> dict[str, list[str]]:
    """Return a table's columns by their headings, the first one left out."""
    lines = [line for line in body.splitlines() if line.startswith("|")]
    if not lines:
        return {}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    headings, cells = rows[0], rows[2:]
    return {heading: [row[i] for row in cells] for i, heading in enumerate(headings) if i}


def with_column(body: str, label: str, found: dict[str, float], note: str) -> str:
    """Return a part of the section with one column replaced or appended, and its note."""
    step = sum(found.values())
    known = columns(body)
    known[label] = [f"{v:,.0f} ({100 * v / step:.0f} %)" for v in found.values()]
    known[label].append(f"**{step:,.0f}**")
    lines = [
        "| ms | " + " | ".join(known) + " |",
        "|---" * (len(known) + 1) + "|",
        *(
            f"| {part} | " + " | ".join(cells[i] for cells in known.values()) + " |"
            for i, part in enumerate([*PARTS, "the step"])
        ),
    ]
    notes = [
        line
        for line in body.splitlines()
        if line.startswith("- ") and not line.startswith(f"- {label}: ")
    ]
    return "\n".join([*lines, "", *notes, f"- {label}: {note}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="s,m")
    parser.add_argument("--impl", default=OURS, help="openqwen, or peer:setting of train_speed.py")
    parser.add_argument("--label", required=True, help="heading of the column, without | and :")
    parser.add_argument("--tree", default="", help="a checkout whose openqwen is profiled")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--nanochat", default="")
    parser.add_argument("--rounds", type=int, default=3, help="steps; the middle one is shown")
    parser.add_argument("--operations", type=int, default=0, help="print that many of each round")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    for model in args.models.split(","):
        found = profile(job_of(model), args)
        print(json.dumps({"model": model, "label": args.label, "ms": found}), flush=True)
        if args.write_docs:
            body = parts(current_section(PERFORMANCE, "train_profile")).get(model, "")
            options = f" --impl {args.impl}" if args.impl != OURS else ""
            options += " --tree CHECKOUT" if args.tree else ""
            command = f"python benchmarks/train_profile.py --models {model}{options}"
            note = provenance(command) + commit_of(args.tree)
            changed = {model: with_column(body, args.label, found, note)}
            write_parts(PERFORMANCE, "train_profile", TITLE, OPENING, changed)


def commit_of(tree: str) -> str:
    """Return which commit a checkout stands at, in words."""
    if not tree:
        return ""
    git = ["git", "-C", tree, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return f"; CHECKOUT at {commit}"


if __name__ == "__main__":
    main()
