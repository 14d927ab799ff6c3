"""Encoding with Qwen's ranks beside every exact library that installs, and training, in one run.

    python benchmarks/tokenizer_speed.py --peer-python peers/bin/python --write-docs

Every engine is a process of its own that keeps its vocabulary; they take turns on the same texts
(one thread), all samples are printed and medians compared. Ids must be tiktoken's; where a peer's
are not, the number of such texts is printed. The texts are those $OPENQWEN_DATA names and Python's
standard library, so English and Chinese are not reproducible outside. Peers, in an environment of
their own: quicktok-v1==0.4.0 riptoken==0.2.4 bpe-qwen==0.1.5 tiktoken==0.14.0 tokenizers==0.23.3
bpeasy==0.1.6 rustbpe==0.1.0 numpy requests regex.
"""

import argparse
import gzip
import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from results import ROOT, provenance, write_section

from openqwen.core.documents import Document, write_documents
from openqwen.core.fetch import fetch_pypi_file
from openqwen.core.runtime import development_data
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.train import train_tokenizer
from openqwen.tokenizer.vocabulary import QWEN_PATTERN

sys.path.insert(0, str(ROOT / "tests" / "tokenizer"))
from scripts_for_tests import random_text

PAGE = ROOT / "docs" / "tokenizer.md"
ENGINES = ("openqwen", "quicktok", "riptoken", "bpe_qwen", "tiktoken", "tokenizers")
TRAINERS = ("rustbpe", "tokenizers", "bpeasy")
NUM_RANKS = 32_000


class Engine:
    """A child process with one engine in it."""

    def __init__(self, name: str, python: str) -> None:
        command = [python, str(ROOT / "benchmarks" / "tokenizer_peer.py"), name]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do} | more) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"{self.name} ended")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def read_texts(kind: str) -> list[str]:
    if kind == "code":
        folder = Path(sysconfig.get_paths()["stdlib"])
        files = (f for f in sorted(folder.rglob("*.py")) if "site-packages" not in f.parts)
        return [file.read_text(encoding="utf-8", errors="replace") for file in files]
    data = development_data()
    if data is None:
        sys.exit("set OPENQWEN_DATA to the development data")
    found = []
    for path in sorted((data / "text").glob(f"{kind}_*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["text"] for line in lines]
    return found


def take(texts: list[str], size: int) -> list[str]:
    """Return texts in a shuffled order, cut to 200,000 characters each, of so many bytes."""
    random.Random(0).shuffle(texts)
    chosen: list[str] = []
    for text in texts:
        if size <= 0:
            break
        chosen.append(text[:200_000])
        size -= len(chosen[-1].encode())
    return chosen


def corpora(size: int) -> dict[str, list[str]]:
    every = {kind: take(read_texts(kind), size) for kind in ("en", "zh", "code")}
    mixed = [text for texts in every.values() for text in texts[::3]]
    random.Random(1).shuffle(mixed)
    draw = random.Random(2)
    chat = [text[:200] for texts in every.values() for text in texts for _ in range(9)][:9_000]
    hostile = [sign * n for sign in "a 中\u0301-" for n in (499, 500, 501, 5_000)]
    fuzz = [random_text(draw, 500) for _ in range(400)] + hostile
    return every | {"mixed": mixed, "turns of 200 characters": chat, "fuzz": fuzz}


def measure(size: int, rounds: int, python: str, folder: Path) -> dict[str, Any]:
    """Return loading, and MB/s of each engine on each corpus, interleaved."""
    ranks = fetch_pypi_file("dashscope", "2.0.2", "dashscope/resources/qwen.tiktoken")
    lossless = Tokenizer(Tokenizer.from_file(ranks).ranks)
    lossless.save(folder)
    engines: dict[str, Engine] = {}
    found: dict[str, Any] = {"load": {}, "rates": {}, "wrong": {}}
    for name in ENGINES:
        engine = Engine(name, sys.executable if name == "openqwen" else python)
        try:
            found["load"][name] = engine.ask("load", folder=str(folder), pattern=QWEN_PATTERN)
            engines[name] = engine
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr)
    for corpus, texts in corpora(size).items():
        file = folder / "texts.json"
        file.write_text(json.dumps(texts), encoding="utf-8")
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        digests = {}
        for name, engine in engines.items():
            engine.ask("texts", file=str(file))
            digests[name] = engine.ask("one", digests=True)["digests"]  # and warm
            wrong = zip(digests[name], digests.get("tiktoken", digests[name]), strict=True)
            found["wrong"].setdefault(name, {})[corpus] = sum(a != b for a, b in wrong)
        for name, rows in digests.items():
            wrong = zip(rows, digests["tiktoken"], strict=True)
            found["wrong"][name][corpus] = (sum(a != b for a, b in wrong), len(rows))
        if corpus == "fuzz":
            continue
        for way in ("one", "batch") if corpus == "mixed" else ("one",):
            samples: dict[str, list[float]] = {name: [] for name in engines}
            for _ in range(rounds):
                for name, engine in engines.items():
                    samples[name].append(megabytes / engine.ask(way)["seconds"])
            label = corpus if way == "one" else f"{corpus}, batch, 2 threads"
            found["rates"][label] = samples
            print(json.dumps({label: {n: [round(s, 1) for s in v] for n, v in samples.items()}}))
    for engine in engines.values():
        engine.close()
    return found


def encoding_table(found: dict[str, Any], command: str) -> str:
    labels = list(found["rates"])
    names = {"en": "English", "zh": "Chinese"}
    lines = [
        "| MB/s, median (all samples) | " + " | ".join(names.get(x, x) for x in labels) + " |",
        "|---" * (len(labels) + 1) + "|",
    ]
    for name, load in found["load"].items():
        cells = []
        for label in labels:
            samples = found["rates"][label][name]
            spread = ", ".join(f"{s:.0f}" if s >= 10 else f"{s:.1f}" for s in samples)
            cells.append(f"{statistics.median(samples):.1f} ({spread})")
        lines.append(f"| {name} {load['version']} | " + " | ".join(cells) + " |")
    lines += ["", "| | loading, s | memory of it, MB | texts with other ids than tiktoken |"]
    lines += ["|---|---|---|---|"]
    for name, load in found["load"].items():
        wrong = found["wrong"][name]
        told = [f"{n} of {total} ({corpus})" for corpus, (n, total) in wrong.items() if n]
        lines.append(
            f"| {name} | {load['seconds']:.2f} | {load['bytes'] / 1e6:.0f} | "
            f"{'; '.join(told) or 'none'} |"
        )
    lines += [
        "",
        "Qwen's 151,643 ranks, without composing; lists of ids in Python. Loading: from the rank "
        'file or tokenizer.json to the first text, imports included. "fuzz" is random text in '
        "33 scripts and runs of one character. English and Chinese: not reproducible outside.",
        "",
        provenance(command),
    ]
    return "\n".join(lines)


def measure_training(size: int, python: str, folder: Path) -> dict[str, tuple[str, float]]:
    """Return seconds of each trainer alone, and of the whole `openqwen tokenizer train`."""
    texts = [t for kind in ("en", "zh", "code") for t in take(read_texts(kind), size // 3)]
    file = folder / "train.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    rows = {}
    for name in TRAINERS:
        engine = Engine(name, python)
        answer = engine.ask("train", file=str(file), num_ranks=NUM_RANKS, pattern=QWEN_PATTERN)
        rows[f"{name} {answer['version']}"] = ("trainer alone", answer["seconds"])
        engine.close()
        print(json.dumps({name: round(answer["seconds"], 2)}), flush=True)
    documents = folder / "documents.parquet"
    write_documents(
        documents,
        (Document(str(i), "s", "", "", "text/plain", text, "en") for i, text in enumerate(texts)),
    )
    start = time.perf_counter()
    train_tokenizer(TokenizerConfig(num_ranks=NUM_RANKS), documents, folder / "trained")
    whole = "reading, training, checks, files and compression tables"
    rows["openqwen tokenizer train"] = (whole, time.perf_counter() - start)
    return rows


def training_table(rows: dict[str, tuple[str, float]], size: int, command: str) -> str:
    lines = ["| | what | s |", "|---|---|---|"]
    lines += [f"| {name} | {what} | {seconds:.1f} |" for name, (what, seconds) in rows.items()]
    lines += ["", f"{NUM_RANKS:,} ranks from {size / 1e6:.0f} MB of English, Chinese and code; one "
              "run each, all processors.", "", provenance(command)]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, help="where the peers are")
    parser.add_argument("--bytes", type=int, default=6_000_000, help="of each corpus")
    parser.add_argument("--train-bytes", type=int, default=50_000_000, help="0: no training")
    parser.add_argument("--rounds", type=int, default=5, help="of encoding; 0: none")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    command = f"python benchmarks/tokenizer_speed.py --bytes {args.bytes} --rounds {args.rounds}"
    with tempfile.TemporaryDirectory() as folder:
        if args.rounds:
            found = measure(args.bytes, args.rounds, args.peer_python, Path(folder))
            print(json.dumps({"load": found["load"], "wrong": found["wrong"]}), flush=True)
            if args.write_docs:
                text = encoding_table(found, command)
                write_section(PAGE, "encoding_speed", "Encoding speed", text)
        if args.train_bytes:
            rows = measure_training(args.train_bytes, args.peer_python, Path(folder))
            if args.write_docs:
                table = training_table(rows, args.train_bytes, command)
                write_section(PAGE, "training_speed", "Training speed", table)


if __name__ == "__main__":
    main()
