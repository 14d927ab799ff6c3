"""What a finished pretraining shows: curve, held-out bits a byte, samples, Table 3, equal logits.

    python benchmarks/pretraining_page.py runs/mini --longcontext measured/results.json \
        --about "what it read" --write-docs

The exported base is loaded by the transformers library, too, and its logits are compared with ours
in float32. Writes docs/pretraining.md and docs/plots/pretraining-loss.png.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

import openqwen
from openqwen.core.files import read_json
from openqwen.core.log import format_bytes, format_duration, read_metrics
from openqwen.core.manifest import Manifest
from openqwen.report.runs_compare import curve_of, pick_run
from openqwen.report.runs_plot import draw_curves

PAGE = ROOT / "docs" / "pretraining.md"
PLOT = ROOT / "docs" / "plots" / "pretraining-loss.png"
TEXTS = ("The quick brown fox", "在下面的对话框中，选择", "def __init__(self, name):\n    self.")
SMOOTH = 9  # rows of the curve's moving mean


def logits_apart(base: Path) -> float:
    """Return the largest difference between our logits and the transformers library's, float32."""
    from transformers import AutoModelForCausalLM

    ours = openqwen.load(base, dtype="float32")
    theirs = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    apart = 0.0
    for text in TEXTS:
        ids_BT = torch.tensor([ours.tokenizer.encode(text)])
        with torch.no_grad():
            found_BTV = theirs(input_ids=ids_BT).logits
        apart = max(apart, float((found_BTV - ours.logits(ids_BT)).abs().max()))
    return apart


def run_lines(manifest: Manifest, about: str) -> list[str]:
    """Return what was trained, on what, in which time."""
    counts = manifest.counts
    return [
        f"`{manifest.recipe}`'s base: {counts['parameters']:,} parameters "
        f"({counts['non_embedding_parameters']:,} outside the embeddings), {counts['tokens']:,} "
        f"tokens at {counts['context_length']}, {counts['epochs']} of an epoch, "
        f"{counts['dtype']} with float32 masters, {format_duration(manifest.seconds)} of wall "
        f"clock, peak memory {format_bytes(manifest.peak_memory_bytes)}, seed {manifest.seed}. "
        f"{about}",
        "",
        "![The loss of the pretraining](plots/pretraining-loss.png)",
        "",
    ]


def held_out_lines(base: Path, counts: dict[str, Any]) -> list[str]:
    """Return bits a byte by language at a few steps, and at the end."""
    rows = [r for r in read_metrics(base / "metrics.jsonl") if r["kind"] == "validation"]
    groups = sorted(counts["validation"])
    lines = [f"| held-out bits a byte after step | {' | '.join(groups)} |"]
    lines.append("|---" * (len(groups) + 1) + "|")
    for row in rows:
        cells = (f"{row['groups'][name]['bits_per_byte']:.3f}" for name in groups)
        lines.append(f"| {row['step']:,} | {' | '.join(cells)} |")
    sizes = ", ".join(f"{name} {counts['validation'][name]['bytes']:,}" for name in groups)
    return [*lines, "", f"One run, one seed; bytes measured: {sizes}.", ""]


def long_context_lines(results: dict[str, Any]) -> list[str]:
    """Return the rows of Table 3."""
    lengths = results["lengths"]
    lines = [f"| perplexity at length | {' | '.join(f'{n:,}' for n in lengths)} |"]
    lines.append("|---" * (len(lengths) + 1) + "|")
    for row in results["rows"]:
        cells = (f"{cell['perplexity']:,.1f}" for cell in row["cells"])
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    count = f"{results['num_documents']} held-out documents of {results['tokens_a_document']:,}"
    return [*lines, "", f"n = {count} tokens, seed {results['seed']}, trained at 512.", ""]


def sample_lines(base: Path) -> list[str]:
    """Return what the base wrote, as it was drawn."""
    rows = read_json(base / "samples.json")
    lines = ["| prompt | continuation (top-p 0.9, temperature 0.7, not chosen) |", "|---|---|"]
    for row in rows:
        text = " ".join(row["text"].split()).replace("|", "\\|").replace("*", "\\*")
        lines.append(f"| {row['prompt']} | {text} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--longcontext", type=Path, required=True, metavar="RESULTS")
    parser.add_argument("--about", default="", help="what it read, and what ran beside it")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    base = args.run / "base"
    manifest = Manifest.read(base)
    assert manifest is not None, f"{base} is not finished"
    apart = logits_apart(base)
    body = "\n".join(
        [
            *run_lines(manifest, args.about),
            *held_out_lines(base, manifest.counts),
            *sample_lines(base),
            *long_context_lines(read_json(args.longcontext)),
            f"The export in the transformers library (qwen2), float32, {len(TEXTS)} texts: logits "
            f"differ from ours by at most {apart:.1e}.",
            "",
            provenance(f"openqwen run {manifest.recipe}.toml --until base"),
        ]
    )
    print(body)
    if args.write_docs:
        curve = curve_of(pick_run(base), manifest.recipe, metric="loss", x="tokens", window=SMOOTH)
        PLOT.write_bytes(draw_curves([curve], metric="loss", x="tokens", window=SMOOTH))
        write_section(PAGE, "pretraining", "Measured", body)


if __name__ == "__main__":
    main()
