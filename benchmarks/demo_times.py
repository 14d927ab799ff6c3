"""The times and peak memory of a finished run, stage by stage, from its manifests.

python benchmarks/demo_times.py runs/tiny --write-docs
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, provenance, write_section

from openqwen.core.files import read_json
from openqwen.core.log import format_bytes, format_duration
from openqwen.core.manifest import Manifest
from openqwen.lineage.registry import STAGES


def long_context_lines(run: Path) -> list[str]:
    """Return the run's rows of Table 3."""
    results = read_json(run / "longcontext" / "results.json")
    lengths = results["lengths"]
    lines = [f"| perplexity at length | {' | '.join(f'{n:,}' for n in lengths)} |"]
    lines.append("|---" * (len(lengths) + 1) + "|")
    for row in results["rows"]:
        cells = (f"{c['perplexity']:,.1f}" for c in row["cells"])
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    lines.append(
        f"\nn = {results['num_documents']} held-out documents of "
        f"{results['tokens_a_document']:,} tokens, seed {results['seed']}, after "
        f"{results['trained_tokens']:,} training tokens at {results['train_length']}; intervals "
        "of the paired differences stand in the run's report."
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    lines = ["| stage | time | peak memory | written |", "|---|---|---|---|"]
    seconds, peak = 0.0, 0
    for name in STAGES:
        manifest = Manifest.read(args.run / name)
        if manifest is None:
            continue
        seconds += manifest.seconds
        peak = max(peak, manifest.peak_memory_bytes)
        size = sum(facts["bytes"] for facts in manifest.outputs.values())
        lines.append(
            f"| {name} | {format_duration(manifest.seconds)} | "
            f"{format_bytes(manifest.peak_memory_bytes)} | {format_bytes(size)} |"
        )
    lines.append(f"| **all** | **{format_duration(seconds)}** | **{format_bytes(peak)}** | |")
    lines += ["", *long_context_lines(args.run)]
    lines += [
        "",
        "One run; the sources' time includes the downloads where they weren't cached.",
        "",
    ]
    body = "\n".join([*lines, provenance(f"openqwen run {manifest.recipe}")])
    print(body)
    if args.write_docs:
        write_section(PERFORMANCE, "demo_times", f"A whole run of `{manifest.recipe}`", body)


if __name__ == "__main__":
    main()
