"""Extraction of main text beside resiliparse, trafilatura and readability: quality and speed.

    python benchmarks/extraction_speed.py --peer-python VENV/bin/python --write-docs

Quality on pages made from known texts (extraction_gold.py) and on whole Debian manuals that ship
as plain text beside the HTML. Speed on real pages of five manuals, one process each, one core,
in turns; processor time. The peers' venv: trafilatura==2.3.1 readability-lxml==0.9
resiliparse==2.0.1. Manuals are fetched as the sources stage does (apt-get download).
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from extraction_gold import TEMPLATES, gold_pages
from extraction_measures import measure, overlap
from results import ROOT, provenance, write_section

from openqwen.core import fetch
from openqwen.core.archives import unpack_archive

PAGE = ROOT / "docs" / "extraction.md"
OURS = "openqwen"
PEERS = ("resiliparse main content", "trafilatura", "readability")
SPEED_PEERS = ("resiliparse main content", "resiliparse whole page", "trafilatura", "readability")
REFERENCE = "usr/share/debian-reference"
GUIDE = "usr/share/doc/installation-guide-amd64"
# manual -> package, its pages, its own plain text
MANUALS = {
    "Debian Reference, en": ("debian-reference-en", REFERENCE, "*.en.html", "debian-reference.en"),
    "Debian Reference, zh": (
        "debian-reference-zh-cn",
        REFERENCE,
        "*.zh-cn.html",
        "debian-reference.zh-cn",
    ),
    "Installation guide, de": (
        "installation-guide-amd64",
        f"{GUIDE}/de",
        "*.html",
        "install.de",
    ),
    "Installation guide, ja": (
        "installation-guide-amd64",
        f"{GUIDE}/ja",
        "*.html",
        "install.ja",
    ),
}
SPEED_PAGES = {  # package -> pages taken, evenly
    "debian-reference-en": 15,
    "debian-reference-zh-cn": 15,
    "python3.11-doc": 150,
    "postgresql-doc-15": 150,
    "installation-guide-amd64": 150,
}
MEASURES = (
    *("f1", "precision", "recall", "code", "table rows", "formulas", "formulas once", "furniture"),
)


@dataclass
class Runner:
    """Runs an extractor over pages in a process of its own."""

    peer_python: str

    def run(self, name: str, pages: list[str], *, want_texts: bool) -> dict[str, Any]:
        python = sys.executable if name == OURS else self.peer_python
        request = json.dumps({"name": name, "pages": pages, "want_texts": want_texts})
        done = subprocess.run(
            [python, str(Path(__file__).with_name("extraction_peer.py"))],
            input=request,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)


def unpack(package: str, folder: Path) -> tuple[Path, str]:
    """Return a Debian package's files, and its version."""
    root = folder / package
    archive, version, _ = fetch.fetch_debian(package)
    if not root.exists():
        root.mkdir()
        unpack_archive(archive, root, ("*.html", "*.txt.gz"))
    return root, version


def gold_table(runner: Runner, repeats: int) -> tuple[list[str], dict[str, str]]:
    """Return the table of quality on made pages, and the versions met."""
    pages = gold_pages(seed=0, repeats=repeats)
    rows, versions, by_template = [], {}, []
    for name in (OURS, *PEERS):
        answer = runner.run(name, [page.html for page in pages], want_texts=True)
        versions[name] = answer["version"]
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        f1: dict[str, list[float]] = defaultdict(list)
        for page, text in zip(pages, answer["texts"], strict=True):
            measures = measure(page, text)
            f1[page.name.split("/")[1]].append(measures["f1"][0])
            for key, (part, whole) in measures.items():
                totals[key][0] += part
                totals[key][1] += whole
        row = {key: totals[key][0] / totals[key][1] for key in MEASURES}
        print(json.dumps({"made pages": name, "failures": answer["failures"]} | row))
        rows.append(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in MEASURES) + " |")
        means = [f"{statistics.mean(f1[template]):.3f}" for template in TEMPLATES]
        by_template.append(f"| {name} | " + " | ".join(means) + " |")
    head = "| | F1 | precision | recall | code blocks | table rows | formulas | once each | "
    lines = [f"{len(pages)} pages made from known texts:", "", head + "furniture left |"]
    lines += ["|" + "---|" * 9, *rows, "", "F1 by template:", ""]
    lines += ["| | " + " | ".join(TEMPLATES) + " |", "|" + "---|" * (len(TEMPLATES) + 1)]
    return [*lines, *by_template], versions


def manual_table(runner: Runner, folder: Path) -> list[str]:
    """Return the table of quality on manuals beside their own plain text."""
    rows, versions = defaultdict(list), {}
    for title, (package, place, pattern, text_name) in MANUALS.items():
        root, versions[package] = unpack(package, folder)
        paths = sorted((root / place).glob(pattern))
        wanted = gzip.decompress((root / place / f"{text_name}.txt.gz").read_bytes()).decode()
        pages = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
        for name in (OURS, *PEERS):
            answer = runner.run(name, pages, want_texts=True)
            met = overlap(wanted, "\n".join(answer["texts"]))
            rows[name].append(f"{met.f1:.3f} ({met.precision:.3f}, {met.recall:.3f})")
            print(json.dumps({"manual": title, "by": name, "f1": met.f1, "pages": len(pages)}))
    lines = [
        "Whole manuals beside the plain text that Debian makes of the same source: F1 (precision, "
        "recall) of tokens:",
        "",
        "| | " + " | ".join(MANUALS) + " |",
        "|" + "---|" * (len(MANUALS) + 1),
    ]
    return lines + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]


def speed_table(runner: Runner, folder: Path, rounds: int, share: float) -> list[str]:
    """Return the table of speed, samples of all rounds in it."""
    pages: list[str] = []
    for package, number in SPEED_PAGES.items():
        root, _ = unpack(package, folder)
        paths = sorted(root.rglob("*.html"))
        number = max(int(number * share), 1)
        chosen = paths[:: max(len(paths) // number, 1)][:number]
        pages += [path.read_text(encoding="utf-8", errors="replace") for path in chosen]
    num_bytes = sum(len(page.encode()) for page in pages)
    samples: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for name in (OURS, *SPEED_PEERS):
            if number and name in ("trafilatura", "readability") and number % 3:
                continue  # a tenth as fast: fewer samples of them
            seconds = runner.run(name, pages, want_texts=False)["seconds"]
            samples[name].append(len(pages) / seconds)
            print(json.dumps({"round": number, "by": name, "pages_per_s": samples[name][-1]}))
    ours = statistics.median(samples[OURS])
    lines = [
        f"{len(pages)} real pages of {num_bytes / 1e6:.1f} MB, one core, processor time, in turns:",
        "",
        "| | pages/s | MB/s | ours to it | samples, pages/s |",
        "|---|---|---|---|---|",
    ]
    for name, values in samples.items():
        median = statistics.median(values)
        rate = median * num_bytes / len(pages) / 1e6
        shown = ", ".join(f"{value:,.0f}" for value in values)
        lines.append(f"| {name} | {median:,.0f} | {rate:.1f} | {ours / median:.2f} | {shown} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="python of a venv with the peers")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=8, help="made pages a template and language")
    parser.add_argument("--share", type=float, default=1.0, help="of the pages timed")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    runner = Runner(args.peer_python)
    with tempfile.TemporaryDirectory(prefix="manuals-") as temporary:
        folder = Path(temporary)
        quality, versions = gold_table(runner, args.repeats)
        manuals = manual_table(runner, folder)
        speed = speed_table(runner, folder, args.rounds, args.share)
    named = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    command = "python benchmarks/extraction_speed.py --peer-python … --write-docs"
    footer = [f"{named}. {provenance(command)}"]
    if args.write_docs:
        body = "\n".join([*quality, "", *manuals, "", *footer])
        write_section(PAGE, "extraction-quality", "Quality beside peers", body)
        write_section(
            PAGE, "extraction-speed", "Speed beside peers", "\n".join([*speed, "", *footer])
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
