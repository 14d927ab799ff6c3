"""Near-duplicates among 50,000 documents: ours beside rensa, datasketch, daft and text-dedup.

    python benchmarks/dedup_speed.py --peer-python DIR/bin/python --rounds 3 --write-docs
        [--text-dedup-python DIR/bin/python] [--documents 50000]

Input: `dedup_task.py`, from $OPENQWEN_DATA (not reproducible outside). One processor each. Programs
take turns (A-B-A-B); every sample is printed, medians are compared. From texts in memory to linked
pairs; ours also drops equal texts, verifies each pair and writes its sketches to files. Then the
whole verb, from a file to files. The peers' environments: requirements/dedup-peers.txt.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from dedup_task import LEVELS, Truth, make_corpus, read_corpus
from results import ROOT, provenance, write_section

from openqwen.core.documents import Document
from openqwen.core.runtime import development_data
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.bands import plan_for
from openqwen.data.dedup.find import Search
from openqwen.data.dedup.here import perform_here
from openqwen.data.dedup.phases import PAIRS
from openqwen.data.dedup.sketches import SketchWriter
from openqwen.data.dedup.verdicts import read_verdicts
from openqwen.data.kernels.ops import which_kernels

PAGE = ROOT / "docs" / "deduplication.md"
PEERS = ("rensa", "datasketch", "daft")
CONFIG = MinHashConfig()
TEXT_DEDUP_DOCUMENTS = 10_000  # its rate a document does not depend on their number
NOTES = {
    "openqwen": "true Jaccard of every pair",
    "rensa": "true Jaccard of its candidates",
    "datasketch": "bands not verified",
    "daft": "bands not verified",
    "text-dedup": "bands not verified; 10,000 documents, one sample",
}


def ours(texts: list[str], folder: Path) -> tuple[float, set[tuple[int, int]]]:
    """Return seconds from documents to verdicts, and the pairs that were linked."""
    documents = [Document(f"d{i:06}", "", "", "", "", text) for i, text in enumerate(texts)]
    with tempfile.TemporaryDirectory(dir=folder) as work:
        started = time.perf_counter()
        with SketchWriter(Path(work) / "sketch", CONFIG) as writer:
            writer.add(documents)
        run = perform_here(Path(work))
        found = Search(run, [], [Path(work) / "sketch"], CONFIG).verdicts(frozenset())
        verdicts = list(read_verdicts(found[0]))
        seconds = time.perf_counter() - started
        files = Path(work).glob(f"verify/*/{PAIRS}")
        pairs = {(int(a), int(b)) for path in files for a, b in np.load(path)}
        number = {document.id: place for place, document in enumerate(documents)}
        equal = [v for v in verdicts if v.reason == "same text"]
        pairs |= {tuple(sorted((v.row, number[v.survivor]))) for v in equal}  # type: ignore[misc]
    return seconds, pairs


class Peer:
    """A peer in a process of its own that takes turns with us."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        script = Path(__file__).parent / "dedup_peers.py"
        self.path = folder / f"{name}.json"
        self.process = subprocess.Popen(
            [python, str(script), name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self.read()["version"]

    def read(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended")
        return json.loads(line)

    def go(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()["seconds"]

    def pairs(self) -> set[tuple[int, int]]:
        time.sleep(1)  # it writes them after its time is told
        return {(min(a, b), max(a, b)) for a, b in json.loads(self.path.read_text())}


def text_dedup(python: str, folder: Path) -> float:
    """Return the documents a second of its own account of time, loading and saving left out."""
    head = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = folder / "head.jsonl"
    rows.write_text("".join(head[:TEXT_DEDUP_DOCUMENTS]), encoding="utf-8")
    command = [python, "-m", "text_dedup.minhash", "--path", "json", "--data_files", str(rows)]
    command += ["--split", "train", "--cache_dir", str(folder / "cache"), "--column", "text"]
    command += ["--output", str(folder / "out"), "--batch_size", "10000", "--ngram", "5"]
    command += ["--num_perm", "128", "--threshold", "0.7", "--num_proc", "1"]
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        command, env=os.environ | offline, capture_output=True, text=True, check=True
    )
    seconds = 0.0
    for line in (done.stdout + done.stderr).splitlines():
        for phase in ("MinHashing", "Clustering", "Filtering"):
            if f" {phase} " in line and ": " in line:
                seconds += float(line.split(": ")[-1].split("s")[0])
    return TEXT_DEDUP_DOCUMENTS / seconds


def whole_verb(source: Path, folder: Path) -> float:
    """Return the seconds of `openqwen data dedup` with one worker, its start included."""
    out = folder / "verb"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    command = [sys.executable, "-m", "openqwen.cli.main"]
    code = "import sys; from openqwen.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "data", "dedup", "--workers", "1"]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--in", str(source), "--out", str(out)], check=True, capture_output=True
    )
    return time.perf_counter() - started


def measure(args: argparse.Namespace, folder: Path) -> dict:
    data = development_data()
    if data is None:
        raise SystemExit("set OPENQWEN_DATA to the folder of development data")
    make_corpus(data, folder, documents=args.documents)
    texts = read_corpus(folder)
    size = sum(len(text.encode()) for text in texts)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    peers = {n: Peer(n, args.peer_python, folder) for n in PEERS} if args.peer_python else {}
    ours(texts[:200], folder)
    samples: dict[str, list[float]] = {"openqwen": [], **{name: [] for name in peers}}
    pairs = {}
    for _ in range(args.rounds):
        seconds, pairs["openqwen"] = ours(texts, folder)
        samples["openqwen"].append(seconds)
        for name, peer in peers.items():
            samples[name].append(peer.go())
            print(name, samples[name][-1], flush=True)
        print("openqwen", seconds, flush=True)
    for name, peer in peers.items():
        pairs[name] = peer.pairs()
        peer.process.kill()
    table = folder / "corpus.parquet"
    rows = {"id": [f"d{i:06}" for i in range(len(texts))], "text": texts}
    pq.write_table(pa.table(rows), table, compression="zstd")
    verb = {
        path.suffix: [whole_verb(path, folder) for _ in range(args.rounds)]
        for path in (folder / "corpus.jsonl", table)
    }
    truth = Truth(texts, folder)
    quality = {name: truth.judge(found, CONFIG.threshold) for name, found in pairs.items()}
    rates = {n: [len(texts) / s for s in taken] for n, taken in samples.items()}
    if args.text_dedup_python:
        rates["text-dedup"] = [text_dedup(args.text_dedup_python, folder)]
    versions = {name: peer.version for name, peer in peers.items()} | {"text-dedup": "0.4.0"}
    return {
        "documents": len(texts),
        "bytes": size,
        "rates": rates,
        "verb": {n: [len(texts) / s for s in taken] for n, taken in verb.items()},
        "quality": quality,
        "versions": versions,
    }


def tables(found: dict) -> str:
    """Return the tables of a docs section."""
    plan = plan_for(CONFIG)
    base = statistics.median(found["rates"].get("rensa", [float("nan")]))
    lines = [
        f"{found['documents']:,} documents, {found['bytes'] / 1e6:.0f} MB, one processor, "
        f"{len(plan.factors_P)} hash functions, {plan.bands} bands of {plan.rows} "
        f"(rensa 32 of 4), threshold {CONFIG.threshold}; {which_kernels()}.",
        "",
        "| program | documents/s (samples) | rensa = 1 | linked pairs | of them ≥ 0.7 | "
        "below 0.6 | recall at ≥ 0.8 | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, samples in found["rates"].items():
        row = found["quality"].get(name)
        version = found["versions"].get(name, "")
        listed = ", ".join(f"{s:,.0f}" for s in samples)
        cells = [f"{name} {version}".strip(), f"{statistics.median(samples):,.0f} ({listed})"]
        cells.append(f"{statistics.median(samples) / base:.2f}")
        cells += (
            [
                f"{row['pairs']:,}",
                f"{row['precision']:.1%}",
                f"{row['below_0.6']:,}",
                f"{row['recall_at_0.8']:.4f} of {row['at_0.8']:,}",
            ]
            if row
            else ["–"] * 4
        )
        lines.append(f"| {' | '.join(cells)} | {NOTES[name]} |")
    lines += [
        "",
        "Planted twins by the share of words (or characters) that were changed, half of them here "
        "and there, half in one run; of those whose true Jaccard similarity is at least 0.7, how "
        "many were linked:",
        "",
        "| program | " + " | ".join(f"{level:.0%} changed" for level in LEVELS) + " |",
        "|---|" + "---|" * len(LEVELS),
    ]
    for name, row in found["quality"].items():
        cells = []
        for level in LEVELS:
            planted, similar, linked = row["levels"][f"{level:.0%}"]
            cells.append(f"{linked:,} of {similar:,} (planted {planted:,})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "The whole verb, `openqwen data dedup --workers 1`, from file to files, its start and the "
        "workers' included:",
        "",
        "| input | documents/s (samples) | MB/s of text |",
        "|---|---|---|",
    ]
    for kind, samples in found["verb"].items():
        middle = statistics.median(samples)
        speed = middle * found["bytes"] / found["documents"] / 1e6
        listed = ", ".join(f"{s:,.0f}" for s in samples)
        lines.append(f"| {kind} | {middle:,.0f} ({listed}) | {speed:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="of an environment with the peers; none: ours alone")
    parser.add_argument("--text-dedup-python", help="of an environment with text-dedup")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dedup-speed-") as folder:
        found = measure(args, Path(folder))
    body = tables(found)
    print(body)
    if args.write_docs:
        command = f"python benchmarks/dedup_speed.py --rounds {args.rounds} --peer-python …"
        line = f"{provenance(command)}; the text is $OPENQWEN_DATA's: not reproducible outside."
        write_section(PAGE, "dedup_speed", "Measured beside its peers", f"{body}\n\n{line}")


if __name__ == "__main__":
    main()
