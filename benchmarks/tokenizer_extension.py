"""The report's vocabulary rebuilt (§2.2): cl100k extended to 151,643 ranks, and Figure 3.

    openqwen tokenizer texts --out texts
    python benchmarks/tokenizer_extension.py --texts texts --out extended

Learns from the package texts and, where $OPENQWEN_DATA is set, its English and Chinese texts less a
tenth of the documents; measures on what was held out. Writes a section of docs/tokenizer.md, the
plot and the table's figures.
"""

import argparse
import gzip
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results import ROOT, provenance, write_section

from openqwen.core.documents import Document
from openqwen.core.runtime import development_data
from openqwen.data.texts.language_texts import LANGUAGES, is_held_out, text_sources
from openqwen.data.texts.text_files import read_texts
from openqwen.data.texts.texts_by_language import sample_by_language
from openqwen.tokenizer.compare import compare_tokenizers
from openqwen.tokenizer.extend import EXTENSION_FILE, extend_tokenizer
from openqwen.tokenizer.extend_base import open_base
from openqwen.tokenizer.extend_config import TokenizerExtendConfig
from openqwen.tokenizer.figure import PLOT_NAME, markdown, write_comparison
from openqwen.tokenizer.peers import TokenCounter, open_counter
from openqwen.tokenizer.peers_catalogue import DEFAULT_PEERS

PAGE = ROOT / "docs" / "tokenizer.md"
PLOT = ROOT / "docs" / "plots" / "tokenizer-figure3.png"
# the report names Chinese first among what it adds
CONFIG = TokenizerExtendConfig(weights={"zh": 3.0})
MAX_CHARACTERS = 1_000_000
CL100K, SINGLE = "cl100k", "cl100k-single-digits"
NAME = "ours"


def development_texts(*, held_out: bool) -> Iterator[Document]:
    """Yield the English and Chinese texts under $OPENQWEN_DATA, evaluation texts never."""
    folder = development_data()
    for path in sorted((folder / "text").glob("*.jsonl.gz")) if folder else []:
        if ".dev." in path.name:
            continue
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                name = f"{path.name}/{row['id']}"
                if is_held_out(name) == held_out:
                    language = path.name[:2]
                    yield Document(
                        name, path.name, "", "", "text/plain", row["text"], language=language
                    )


def training_texts(texts: Path) -> Iterator[Document]:
    yield from read_texts([texts / "train"], split="train")
    yield from development_texts(held_out=False)


def held_out_texts(texts: Path) -> dict[str, dict[str, list[str]]]:
    """Return part -> language -> documents.

    "sources like those learnt from": a tenth of their documents. "other sources": packages of which
    nothing was learnt.
    """
    whole = {s.package for language in LANGUAGES for s in text_sources(language) if s.held_out}
    near: list[Document] = []
    far: list[Document] = []
    for path in sorted((texts / "held-out").glob("*.jsonl")):
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            media = "text/x-python" if path.stem == "code" else "text/plain"
            document = Document(
                row["id"], row["source"], "", "", media, row["text"], language=path.stem
            )
            (far if row["source"] in whole else near).append(document)
    near += [d for d in development_texts(held_out=True) if d.language == "zh"]
    parts = {"near": near, "far": far, "all": [*near, *far]}
    found = {}
    for part, documents in parts.items():
        sample = sample_by_language(documents, max_characters=MAX_CHARACTERS)
        found[part] = {name: sample[name] for name in LANGUAGES if name in sample}
    return found


def named(counter: TokenCounter, name: str) -> TokenCounter:
    return TokenCounter(name, counter.about, counter.num_tokens, counter.encode, counter.digits)


def shares(table: dict[str, Any], over: str) -> dict[str, float]:
    """Return language -> our tokens over those of another tokenizer."""
    return {
        language: row["tokenizers"][NAME]["tokens"] / row["tokenizers"][over]["tokens"]
        for language, row in table["languages"].items()
    }


def verdict(tables: dict[str, dict[str, Any]]) -> str:
    """Return the table that answers the two requirements."""
    parts = {"near": "sources learnt from", "far": "other sources"}
    lines = [
        "Our tokens over cl100k's, under its own pattern and under Qwen's:",
        "",
        "| language | characters | over cl100k | over cl100k with single digits | cost of single "
        "digits alone | over cl100k, sources learnt from | other sources |",
        "|---|---|---|---|---|---|---|",
    ]
    own, single = shares(tables["all"], CL100K), shares(tables["all"], SINGLE)
    by_part = {part: shares(tables[part], CL100K) for part in parts}
    for language, row in tables["all"]["languages"].items():
        counts = row["tokenizers"]
        cost = counts[SINGLE]["tokens"] / counts[CL100K]["tokens"] - 1
        cells = [
            f"{by_part[p][language] - 1:+.1%}" if language in by_part[p] else "" for p in parts
        ]
        lines.append(
            f"| {language} | {row['characters']:,} | {own[language] - 1:+.1%} | "
            f"{single[language] - 1:+.1%} | {cost:+.1%} | {' | '.join(cells)} |"
        )
    worst = max(single, key=lambda name: single[name])
    lines += [
        "",
        f"On held-out Chinese {1 - own['zh']:.1%} fewer tokens than cl100k (at least 20 % asked), "
        f"{1 - by_part['far']['zh']:.1%} in the source of which nothing was learnt. Under the same "
        f"single-digit pattern no language has more tokens than cl100k's ranks; the least gain is "
        f"{single[worst] - 1:+.1%} ({worst}).",
    ]
    return "\n".join(lines)


def added(report: dict[str, Any]) -> str:
    """Return what was added, by script."""
    lines = ["| script | tokens added | of one character | first learnt |", "|---|---|---|---|"]
    for script, facts in list(report["scripts"].items())[:12]:
        examples = " ".join(f"`{e.strip()}`" for e in facts["examples"][:6] if "`" not in e)
        one = facts["one_character"]
        lines.append(f"| {script} | {facts['tokens']:,} | {one:,} | {examples} |".replace("\n", ""))
    return "\n".join(lines)


def corpus(report: dict[str, Any]) -> str:
    groups = report["corpus"]["groups"]
    return ", ".join(
        f"{name} {groups[name]['characters'] / 1e6:.1f} ({groups[name]['factor']:.1f})"
        for name in LANGUAGES
        if name in groups
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True, help="what `tokenizer texts` wrote")
    parser.add_argument("--out", type=Path, required=True, help="directory to write into")
    args = parser.parse_args()
    begin = time.perf_counter()
    counts = extend_tokenizer(CONFIG, open_base(CL100K), training_texts(args.texts), args.out)
    seconds = time.perf_counter() - begin
    report = json.loads((args.out / EXTENSION_FILE).read_text(encoding="utf-8"))
    mine = named(open_counter(str(args.out)), NAME)
    peers = {name: open_counter(name) for name in DEFAULT_PEERS}
    base = peers.pop("xlm-r")
    tables = {}
    for part, texts in held_out_texts(args.texts).items():
        some = list(peers.values()) if part == "all" else [peers[CL100K], peers[SINGLE]]
        tables[part] = compare_tokenizers([base, mine, *some], texts)
        write_comparison(args.out / part, tables[part])
    shutil.copy(args.out / "all" / PLOT_NAME, PLOT)
    tables["all"]["tokenizers"][NAME]["about"] = "this extension"
    data = "the texts under `$OPENQWEN_DATA` (not reproducible outside) and "
    checks = report["checks"]
    body = [
        f"{counts['base_ranks']:,} of cl100k's ranks ({report['base_numbers_left_out']:,} numbers "
        f"left out) and {counts['added_ranks']:,} learnt from {data if development_data() else ''}"
        f"packages: {counts['documents']:,} documents, {counts['bytes'] / 1e6:.0f} MB, in "
        f"{seconds:.0f} s with all checks. `extend.weights` = {CONFIG.weights}. All "
        f"{checks['added_and_re_encoded_to_themselves']:,} added tokens re-encode to themselves, "
        f"{checks['added_and_re_encoded_to_themselves'] - checks['of_these_whole_characters']:,} "
        f"of them parts of characters; {checks['learnt_but_taken_out']} were taken out. The rarest "
        f"was seen {report['least_seen']} times.",
        f"Learnt from, in million characters (and what each counts for): {corpus(report)}.",
        added(report),
        f"![Tokens over those of XLM-R by language](plots/{PLOT.name})",
        markdown(tables["all"]),
        verdict(tables),
        "Held out by document: a tenth of each source by a hash of the name (Chinese: "
        "the development texts' tenth too), and whole sources: Debian's installation guide, for "
        "Thai, Hebrew and Arabic WordPress's messages. Most of these texts are manuals, as what "
        "was learnt from; other text gains less.",
        provenance("python benchmarks/tokenizer_extension.py --texts texts --out extended"),
    ]
    write_section(PAGE, "tokenizer_extension", "The report's vocabulary rebuilt", "\n\n".join(body))


if __name__ == "__main__":
    main()
