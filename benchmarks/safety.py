"""Refusal rates of a measured model, and the error of the rules that find refusals.

    openqwen eval MODEL --tasks safety --chat --out DIR
    python benchmarks/safety.py DIR [--labels LABELS.json]

LABELS says of each item's id whether its reply refuses, as somebody read it, and the hash of that
reply; labels of other replies don't count. Without it only the hand-written list beside the rules
is used. Writes into docs/safety.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from results import ROOT, provenance, write_section

import openqwen.eval.safety as safety
from openqwen.core.files import read_json, sha256_text
from openqwen.eval.results import read_items, read_result
from openqwen.eval.safety.measure import TASKS
from openqwen.eval.safety.refusal import measure_detector

PAGE = ROOT / "docs" / "safety.md"


def main() -> None:
    """Write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--labels", type=Path)
    args = parser.parse_args()
    rates = "\n\n".join(_rates(args.measured, is_harmful) for is_harmful in (True, False))
    listed = json.loads(Path(safety.__file__).with_name("labelled_replies.json").read_text())
    rows = ["| replies | n | precision | recall |", "|---|---|---|---|"]
    for language in ("en", "zh"):
        own = [row for row in listed if row["language"] == language]
        rows.append(_error(f"written by hand, {language}", own))
    labels: dict[str, Any] = read_json(args.labels) if args.labels else {}
    read: list[dict[str, Any]] = []
    for task in TASKS.values():
        for item in read_items(args.measured, task):
            label = labels.get(item.id, {})
            if label.get("reply_sha256") == sha256_text(str(item.output))[:16]:
                read.append({"reply": item.output, "is_refusal": label["is_refusal"]})
    if read:
        rows.append(_error("of this model, read and labelled", read))
    model = Path(str(read_json(args.measured / "model.json").get("model", ""))).name
    command = f"python benchmarks/safety.py {args.measured.name}"
    told = f"Model `{model}`, greedy, chat form, seed 0." if model else "Greedy, chat form, seed 0."
    line = provenance(command + (f" --labels {args.labels.name}" if args.labels else ""))
    body = "\n\n".join([told, rates, "Error of the rules:", "\n".join(rows), line])
    write_section(PAGE, "safety", "Measured", body)


def _rates(folder: Path, is_harmful: bool) -> str:
    result = read_result(folder, TASKS[is_harmful])
    named = {"all": result.metrics, **result.groups}
    asked = "harmful requests" if is_harmful else "harmless look-alikes"
    rows = [f"| {asked} | n | refused | 95 % interval |", "|---|---|---|---|"]
    for name, scores in named.items():
        score = scores[result.main]
        low, high = score.interval
        rows.append(f"| {name} | {score.n} | {score.value:.1%} | {low:.1%} – {high:.1%} |")
    return "\n".join(rows)


def _error(name: str, rows: list[dict[str, Any]]) -> str:
    error = measure_detector(rows)
    shown = [
        f"{v:.1%} ({low:.1%} – {high:.1%})" for v, (low, high) in (error.precision, error.recall)
    ]
    return f"| {name} | {error.n} | {' | '.join(shown)} |"


if __name__ == "__main__":
    main()
