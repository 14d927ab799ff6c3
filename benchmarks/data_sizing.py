"""Measured rates of the documents stage carried to 100 TB of WARC: hours, memory, bytes written.

    python benchmarks/data_sizing.py --write-docs

Runs the stage once on one processor over a WARC of Debian's manuals and reads what each phase took
from its own account (`timings.json`). A page of a crawl is smaller and dirtier than a manual's, so
the figures are an estimate, and say from what.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pipeline_speed
from results import ROOT, provenance, write_section

TARGET_TB = 100
MORE = {
    "postgresql-doc-15": ("*.html",),
    "libreoffice-help-en-us": ("*.html",),
    "libreoffice-help-zh-cn": ("*.html",),
}
MEANINGS = {
    "read": "reading, extraction, language, sketches",
    "dedup-url": "same URL",
    "dedup-exact": "same text",
    "dedup-bands": "pairs that share a band",
    "dedup-verify": "their true Jaccard",
    "dedup-cluster": "clusters",
    "dedup-judge": "verdicts",
    "benchmarks": "index of the benchmarks",
    "filter": "rules (no scores, no decontamination)",
    "finish": "mixture",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    pipeline_speed.PACKAGES |= MORE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = pipeline_speed.make_inputs(folder)
        warc = folder / "pages.warc.gz"
        result = pipeline_speed.ours(warc, folder / "out", languages=[])
        funnel = json.loads((folder / "out" / "documents" / "funnel.json").read_text())
        facts |= {"packed": warc.stat().st_size}
        manifest = json.loads((folder / "out" / "documents" / "manifest.json").read_text())
    body = page(facts, result, funnel, manifest)
    print(body)
    if args.write_docs:
        write_section(ROOT / "docs" / "data.md", "sizing", "Sizing: 100 TB of WARC", body)


def page(facts: dict, result: dict, funnel: list[dict], manifest: dict) -> str:
    scale = TARGET_TB * 1e12 / facts["bytes"]
    whole = sum(row["seconds"] for row in result["phases"].values())
    lines = [
        f"Measured on {facts['pages']:,} pages, {facts['bytes'] / 1e6:.0f} MB of HTML "
        f"({facts['packed'] / 1e6:.0f} MB as .warc.gz), carried to {TARGET_TB} TB of HTML by the "
        "number of bytes.",
        "",
        "| phase | what | seconds here | core-hours | share | files it writes | peak of a worker |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["phases"].items():
        hours = row["seconds"] * scale / 3600
        lines.append(
            f"| {name} | {MEANINGS.get(name, '')} | {row['seconds']:.2f} | {hours:,.0f} | "
            f"{row['seconds'] / whole:.0%} | {row['bytes'] * scale / 1e12:.2f} TB | "
            f"{row['peak_memory_bytes'] / 1e6:.0f} MB |"
        )
    hours = whole * scale / 3600
    lines.append(f"| all | | {whole:.2f} | {hours:,.0f} | | | |")
    pages = facts["pages"] * scale
    slowest = max(result["phases"], key=lambda name: result["phases"][name]["seconds"])
    steps = ", ".join(f"{name} {s:.2f} s" for name, s in result["steps"].items())
    unique = next(row["out"] for row in funnel if row["step"] == "exact")
    lines += [
        "",
        f"- The phase that dominates is **{slowest}**; by step: {steps}.",
        f"- {hours:,.0f} core-hours are {hours / 1000 / 24:.1f} days on 1,000 cores. Starting "
        "processes and loading models is in the small run's seconds and not worth mentioning in a "
        "large one, so the hours are on the safe side.",
        f"- {pages / 1e9:.1f} G pages of this size ({facts['bytes'] / facts['pages'] / 1e3:.0f} kB "
        f"of HTML each), {unique * scale / 1e9:.1f} G after exact duplicates. The process that "
        "plans the mixture holds 68 bytes a document that is left: "
        f"{68 * unique * scale / 1e9:,.0f} GB. The one that clusters holds the verified pairs. "
        "Both run on one machine: they are the limit of this design, and a corpus beyond it is "
        "built crawl by crawl against an index (`documents.index`).",
        f"- Peak memory of the asking process here: {manifest['peak_memory_bytes'] / 1e6:.0f} MB.",
        "- Decontamination and model scores are left out here; their rates stand in "
        "decontamination.md and scores.md (17 to 71 MB/s of text a processor).",
        "- Shuffled between workers are the key files in `read` (8 to 12 bytes a key, one key a "
        "band) and the pairs; texts are never shuffled, they stay with their part.",
    ]
    command = "python benchmarks/data_sizing.py --write-docs"
    return "\n".join([*lines, "", provenance(command)])


if __name__ == "__main__":
    main()
