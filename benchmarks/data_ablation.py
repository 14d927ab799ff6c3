"""What rules and near-duplicates are worth: `openqwen data ablate` on `tiny`, into the docs.

    python benchmarks/data_ablation.py --out ablation --write-docs

Some ten minutes on two quiet cores; a run that is there already is taken as it is.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

STEPS, NUM_STEPS, SEEDS = ("rules", "minhash"), 240, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    command = [str(Path(sys.executable).with_name("openqwen")), "data", "ablate"]
    command += ["--recipe", "tiny", "--without", *STEPS, "--seeds", str(SEEDS)]
    command += ["--set", f"base.num_steps={NUM_STEPS}", "--out", args.out]
    subprocess.run(command, check=True)
    report = json.loads((Path(args.out) / "models" / "ablation.json").read_text())
    body = page(report)
    print(body)
    if args.write_docs:
        write_section(ROOT / "docs" / "data.md", "ablation", "Ablation: two steps", body)


def page(report: dict) -> str:
    reference, *others = report["variants"]
    lines = [
        f"Bits a byte on held-out documents after {report['num_steps']} steps of `tiny` (the same "
        f"for each variant), seeds {report['seeds']}; the difference with its 95 % interval over "
        "documents and seeds, above 0 where the step helps.",
        "",
        f"| documents of | n | {reference} | " + " | ".join(others) + " |",
        "|---|---|---|" + "---|" * len(others),
    ]
    for name, row in report["groups"].items():
        cells = [name, str(row["documents"]), f"{row[reference]['bits_per_byte']:.3f}"]
        for other in others:
            low, high = row[other]["interval"]
            verdict = "" if row[other]["measurable"] else ", no measurable difference"
            cells.append(
                f"{row[other]['bits_per_byte']:.3f} ({row[other]['difference']:+.3f}, "
                f"{low:+.3f} to {high:+.3f}{verdict})"
            )
        lines.append("| " + " | ".join(cells) + " |")
    amounts = "; ".join(
        f"{name}: {facts['documents']:,} documents, {facts['tokens']:,} tokens"
        for name, facts in report["variants"].items()
    )
    lines += ["", f"Learnt from: {amounts}.", ""]
    return "\n".join([*lines, provenance("python benchmarks/data_ablation.py --write-docs")])


if __name__ == "__main__":
    main()
