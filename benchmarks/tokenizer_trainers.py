"""How fast tokens are learnt: behind cl100k's ranks, from bytes, and from more text than memory.

    openqwen tokenizer texts --out texts
    python benchmarks/tokenizer_trainers.py --texts texts

Each measurement is a process of its own, two threads, rounds interleaved. Writes a section of
docs/tokenizer.md.
"""

import argparse
import importlib.metadata
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from results import ROOT, provenance, write_section

PAGE = ROOT / "docs" / "tokenizer.md"
CONTINUED, FROM_BYTES = 10_000, 32_000
TABLE_BYTES = 200_000_000
TASKS = {
    "continue ours": "openqwen",
    "continue tokenizers": "tokenizers",
    "bytes ours": "openqwen",
    "bytes rustbpe": "rustbpe",
    "bytes tokenizers": "tokenizers",
}


def read_lines(texts: Path, limit: int) -> list[str]:
    """Return documents of all languages in turn, up to so many bytes."""
    files = [
        (json.loads(line)["text"] for line in path.open(encoding="utf-8"))
        for path in sorted((texts / "train").glob("*.jsonl"))
    ]
    found, size = [], 0
    for row in itertools.zip_longest(*files):
        for text in row:
            if text is not None and size < limit:
                found.append(text)
                size += len(text.encode())
    return found


def ours(texts: list[str], ranks: list[bytes], wanted: int) -> dict[str, float]:
    from openqwen.tokenizer.extend_native import NativeCounter, native_extend, open_trainer
    from openqwen.tokenizer.extend_pieces import Limits

    library, why_not = open_trainer()
    assert library is not None, why_not
    begin = time.perf_counter()
    counter = NativeCounter(library, 10**9)
    for text in texts:
        counter.add(0, text.encode(), 1)
    pieces = counter.finish()
    limits = Limits(2, 10**6, 10**6, 10**6)
    learnt = native_extend(library, pieces, pieces.counts, ranks, wanted, limits, threads=2)
    return {"seconds": time.perf_counter() - begin, "learnt": len(learnt)}


def continue_tokenizers(texts: list[str], wanted: int) -> dict[str, float]:
    """Give the library's trainer a character for each base token: it can't start from ranks."""
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    from openqwen.tokenizer.extend_base import open_base
    from openqwen.tokenizer.extend_pieces import split_pieces
    from openqwen.tokenizer.tokenizer import Tokenizer

    base = Tokenizer(open_base("cl100k").ranks)
    begin = time.perf_counter()
    mapped = []
    for text in texts:
        pieces = [piece.decode() for piece in split_pieces(text)]
        ids = base.encode_batch(pieces)
        mapped.append(" ".join("".join(chr(0x20000 + i) for i in some) for some in ids))
    mapping = time.perf_counter() - begin
    library = LibraryTokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = len({c for text in mapped for c in text} - {" "})
    trainer = trainers.BpeTrainer(vocab_size=letters + wanted, min_frequency=2, show_progress=False)
    library.train_from_iterator(mapped, trainer)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "mapping": mapping, "learnt": library.get_vocab_size() - letters}


def one(task: str, texts: list[str]) -> dict[str, float]:
    """Run one measurement in this process."""
    if task == "continue ours":
        from openqwen.tokenizer.extend_base import open_base

        base = open_base("cl100k").ranks
        return ours(texts, sorted(base, key=base.__getitem__), CONTINUED)
    if task == "continue tokenizers":
        return continue_tokenizers(texts, CONTINUED)
    if task == "bytes ours":
        return ours(texts, [bytes([value]) for value in range(256)], FROM_BYTES - 256)
    begin = time.perf_counter()
    if task == "bytes rustbpe":
        from openqwen.tokenizer.train import train_ranks

        learnt = len(train_ranks(iter(texts), FROM_BYTES)) - 256
    else:
        from tokenizers import Regex, models, pre_tokenizers, trainers
        from tokenizers import Tokenizer as LibraryTokenizer

        from openqwen.tokenizer.vocabulary import QWEN_PATTERN

        library = LibraryTokenizer(models.BPE())
        split = pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        library.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        trainer = trainers.BpeTrainer(
            vocab_size=FROM_BYTES,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        library.train_from_iterator(texts, trainer)
        learnt = library.get_vocab_size() - 256
    return {"seconds": time.perf_counter() - begin, "learnt": learnt}


def made_anew(texts: list[str], limit: int) -> Iterator[str]:
    """Yield texts of clauses cut and joined at random: ever new pieces, as in a large crawl."""
    draw = random.Random(1)
    halves = [
        half
        for text in texts
        for clause in re.split(r"(?<=[，。、,.;])", text)
        for half in (clause[: len(clause) // 2], clause[len(clause) // 2 :])
    ]
    made = 0
    while made < limit:
        text = "".join(draw.choices(halves, k=4_000))
        made += len(text.encode())
        yield text


def large(texts: list[str], limit: int) -> dict[str, float]:
    """Extend cl100k by all of 52,487 tokens from a stream of `limit` bytes."""
    import resource
    import tempfile

    from openqwen.core.documents import Document
    from openqwen.tokenizer.extend import extend_tokenizer
    from openqwen.tokenizer.extend_base import open_base
    from openqwen.tokenizer.extend_config import TokenizerExtendConfig

    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = TokenizerExtendConfig(table_bytes=TABLE_BYTES)
    documents = (
        Document(str(i), "", "", "", "text/plain", text, language="mixed")
        for i, text in enumerate(made_anew(texts, limit))
    )
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        counts = extend_tokenizer(config, open_base("cl100k"), documents, Path(out))
        report = json.loads((Path(out) / "extension.json").read_text())
    return {
        "seconds": time.perf_counter() - begin,
        "bytes": counts["bytes"],
        "learnt": counts["added_ranks"],
        "halvings": report["corpus"]["most_halvings"],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "idle_bytes": idle * 1024,
    }


def measure(task: str, args: argparse.Namespace) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--texts", str(args.texts), "--task", task]
    command += ["--megabytes", str(args.megabytes), "--large-megabytes", str(args.large_megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{task:<22} {found}", flush=True)
    return found


def section(samples: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> str:
    """Return the section's Markdown."""
    middle = {k: statistics.median(s["seconds"] for s in some) for k, some in samples.items()}

    def row(what: str, task: str, ours_task: str) -> str:
        some = samples[task]
        spread = ", ".join(f"{s['seconds']:.2f}" for s in some)
        library = TASKS[task]
        version = "" if library == "openqwen" else f" {importlib.metadata.version(library)}"
        mapped = statistics.median(s.get("mapping", 0) for s in some)
        note = f", {mapped:.2f} s of it mapping tokens to characters in Python" if mapped else ""
        return (
            f"| {what} | {library}{version}{note} | {middle[task]:.2f} s ({spread}) | "
            f"{middle[task] / middle[ours_task]:.1f} |"
        )

    big = samples["large"][0]
    grown = (big["peak_bytes"] - big["idle_bytes"]) / TABLE_BYTES
    lines = [
        f"{args.megabytes} MB of the package texts, nineteen kinds in turn; two threads.",
        "",
        "| what | by | median (all samples) | times ours |",
        "|---|---|---|---|",
    ]
    for prefix, what in (
        ("continue", f"{CONTINUED:,} tokens behind cl100k's"),
        ("bytes", f"{FROM_BYTES:,} from single bytes"),
    ):
        lines += [row(what, t, f"{prefix} ours") for t in TASKS if t.startswith(prefix)]
    lines += [
        "",
        f"A stream of {big['bytes'] / 1e9:.2f} GB whose clauses are cut and joined anew, so that "
        f"most pieces are new: {big['learnt']:,} tokens behind cl100k's in {big['seconds']:.0f} s, "
        f"{big['bytes'] / big['seconds'] / 1e6:.0f} MB/s, the making of the text included. "
        f"`extend.table_bytes` = {TABLE_BYTES:,}: longer pieces were halved "
        f"{big['halvings']:.0f} times; the process grew from {big['idle_bytes'] / 1e9:.2f} to "
        f"{big['peak_bytes'] / 1e9:.2f} GB, {grown:.1f} times the table.",
        "",
        provenance(
            "python benchmarks/tokenizer_trainers.py --texts texts "
            f"--megabytes {args.megabytes} --rounds {args.rounds}"
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True, help="what `tokenizer texts` wrote")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--large-megabytes", type=int, default=1_200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        texts = read_lines(args.texts, args.megabytes * 1_000_000)
        limit = args.large_megabytes * 1_000_000
        found = large(texts, limit) if args.task == "large" else one(args.task, texts)
        print(json.dumps(found))
        return
    samples: dict[str, list[dict[str, float]]] = {task: [] for task in TASKS}
    for _ in range(args.rounds):
        for task in TASKS:
            samples[task].append(measure(task, args))
    samples["large"] = [measure("large", args)]
    write_section(PAGE, "tokenizer_trainers", "How fast tokens are learnt", section(samples, args))


if __name__ == "__main__":
    main()
