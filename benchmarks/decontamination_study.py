"""What decontamination finds in real text and in instructions, what it misses, and its speed.

    OPENQWEN_DATA=... python benchmarks/decontamination_study.py [--rounds 3] [--smoke]

Writes the measured sections of docs/decontamination.md. The benchmarks and texts are development
data (not reproducible outside); the instruction sets come from the llamafactory package.
"""

import argparse
import gzip
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from results import ROOT, provenance, write_section

from openqwen.core.archives import read_member
from openqwen.core.documents import Document
from openqwen.core.fetch import fetch_pinned
from openqwen.core.intervals import share_interval
from openqwen.core.log import format_bytes
from openqwen.core.ngrams import ngrams, unit_spans, units
from openqwen.data.contamination.benchmark_files import read_benchmark_files
from openqwen.data.contamination.benchmark_index import BenchmarkIndex, BenchmarkItem, is_word
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.decontaminate import Decontaminate
from openqwen.data.inputs.document_rows import read_document_rows
from openqwen.data.inputs.origin import SetAside
from openqwen.data.kernels.ops import which_kernels

PAGE = ROOT / "docs" / "decontamination.md"
VERDICTS = ROOT / "benchmarks" / "decontamination_verdicts.json"
OUTSIDE = "Benchmarks and texts are development data: not reproducible outside."
INSTRUCTIONS = (
    *("alpaca_en_demo.json", "alpaca_zh_demo.json"),
    *("glaive_toolcall_en_demo.json", "glaive_toolcall_zh_demo.json"),
)
KINDS = {
    "source": "the benchmark quotes this very book",
    "saying": "both quote the same third text",
    "code": "the same few lines of a common program",
    "leak": "a copy of the item",
    "chance": "unrelated texts",
}
PLANTED = 150  # items of each language
HOST_CHARS = 3000


def rows_of(path: Path) -> Iterator[dict[str, object]]:
    """Yield the rows of a gzipped JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def texts(data: Path, smoke: bool) -> dict[str, list[Document]]:
    """Return the documents of each text file."""
    files = sorted((data / "text").glob("*.jsonl.gz"))
    found = {}
    for path in files[::6] if smoke else files:
        name = path.name.removesuffix(".jsonl.gz")
        rows = rows_of(path)
        found[name] = [
            Document(str(r["id"]), name, "", "", "text/plain", str(r["text"])) for r in rows
        ]
    return found


def instructions(data: Path, folder: Path) -> dict[str, list[Document]]:
    """Return conversations: instruction sets, seed tasks' instances, preferred dialogues."""
    archive = fetch_pinned("llamafactory", "0.9.5")
    paths = []
    for name in INSTRUCTIONS:
        (folder / name).write_bytes(read_member(archive, f"data/{name}"))
        paths.append(folder / name)
    for path in sorted((data / "instructions").glob("*.jsonl.gz")):
        seeds = [
            {"id": f"{row['id']}-{n}", "instruction": row["instruction"]} | instance
            for row in rows_of(path)
            for n, instance in enumerate(row["instances"])  # type: ignore[arg-type]
        ]
        paths.append(folder / f"{path.name.split('.')[0]}.json")
        paths[-1].write_text(json.dumps(seeds), encoding="utf-8")
    rows = list(rows_of(data / "preferences" / "hh_rlhf_harmless.jsonl.gz"))
    paths.append(folder / "hh_rlhf_harmless.json")
    dialogues = [{"id": str(n), "text": row["chosen"]} for n, row in enumerate(rows)]
    paths[-1].write_text(json.dumps(dialogues), encoding="utf-8")
    aside = SetAside()
    return {p.stem: [row.document for row in read_document_rows(p, aside)] for p in paths}


def found_in(
    documents: dict[str, list[Document]], index: BenchmarkIndex, config: DecontaminateConfig
) -> list[dict[str, object]]:
    """Return the reports of all documents that overlap."""
    step = Decontaminate(config, index)
    for group in documents.values():
        for _ in step(group):
            pass
    return step.report


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in x) + " |" for x in lines
    )


def write_found(reports, sets, items, index, command) -> None:
    """Write what was found, and how each match reads."""
    verdicts = {(v["document"], v["benchmark"]): v for v in json.loads(VERDICTS.read_text())}
    findable = set(index.findable().tolist())
    known = Counter(item.benchmark for item in items)
    lost = Counter(item.benchmark for n, item in enumerate(items) if n not in findable)
    rows, read = [], Counter()
    hits: dict[str, tuple[set[str], set[str]]] = {}
    for report in reports:
        by_benchmark: dict[str, list[dict[str, object]]] = {}
        for match in report["overlaps"]:
            by_benchmark.setdefault(match["benchmark"], []).append(match)
        for name, matches in sorted(by_benchmark.items()):
            documents, ids = hits.setdefault(name, (set(), set()))
            documents.add(report["id"])
            ids.update(match["item"] for match in matches)
            verdict = verdicts.get((report["id"], name), {"kind": "not read", "note": ""})
            read[verdict["kind"]] += 1
            longest = matches[0]
            shown = longest["ngram"] if " " in longest["ngram"] else ""
            document = f"{report['source']}: {report['id']}".removeprefix(": ")
            place = f"{name}, {len(matches)} item{'s' if len(matches) != 1 else ''}"
            rows.append([document, place, str(longest["num_units"]), shown, verdict["note"]])
    counted = [
        [name, f"{known[name]:,}", f"{lost[name]:,}"]
        + [f"{len(part):,}" for part in hits.get(name, (set(), set()))]
        for name in sorted(known)
    ]
    total = sum(len(group) for group in sets.values())
    size = sum(len(d.text.encode()) for group in sets.values() for d in group)
    said = "; ".join(f"{n} {KINDS.get(kind, kind)}" for kind, n in read.most_common())
    body = f"""{total:,} documents and conversations ({format_bytes(size)}) in {len(sets)} sets
({", ".join(sets)}) against {len(items):,} items in {len(known)} benchmark files.

{table(["benchmark", "items", "not looked for", "documents", "items found"], counted)}

Not looked for: fewer than 8 units, no run with 4 different words (brackets to be closed, rows of
numbers), or made of n-grams that more than 20 items share.

Every match, the longest run of each; all were read by the one who wrote this
({said}):

{table(["document", "benchmark", "units", "first units", "what it is"], rows)}

{OUTSIDE}

{command}"""
    write_section(PAGE, "decontamination-found", "What was found", body)


def write_settings(sets, items, command) -> None:
    """Write how many documents overlap under other settings."""
    variants = {
        "as set": {},
        "no least number of words (min_words=0)": {"min_words": 0},
        "boilerplate of the benchmarks looked for (max_items=0)": {"max_items": 0},
        "whole short items from 5 units on (min_units=5)": {"min_units": 5},
        "8-grams (ngram=8)": {"ngram": 8},
    }
    rows = []
    for name, change in variants.items():
        config = DecontaminateConfig(action="report", **change)
        index = BenchmarkIndex.build(items, config)
        reports = found_in(sets, index, config)
        shortest = Counter(o["ngram"] for r in reports for o in r["overlaps"]).most_common(1)
        example = f"“{shortest[0][0][:60]}”, {shortest[0][1]} ×" if shortest else ""
        rows.append(
            [name, f"{len(reports):,}", f"{sum(r['num_items'] for r in reports):,}", example]
        )
    heads = ["setting", "documents that overlap", "items", "most frequent match"]
    write_section(
        PAGE,
        "decontamination-settings",
        "What the settings do",
        f"{table(heads, rows)}\n\n{OUTSIDE}\n\n{command}",
    )


def at_spaces(text: str) -> set[tuple[str, ...]]:
    """Return 13-grams of what spaces part, punctuation taken out: the usual way in English."""
    return set(ngrams(re.sub(r"[^\w\s]", "", text.lower()).split(), 13))


def planted_forms(item: BenchmarkItem, draw: random.Random) -> dict[str, str]:
    """Return ways in which a question stands on pages; the last must not be found."""
    question = item.views[0]
    spans = unit_spans(question)
    first = draw.randrange(len(spans) - 12)
    lettered = next(v for v in item.views if "\nA. " in v)
    marked = re.sub(r"\s+", lambda m: draw.choice([" ", "  ", "\n", ", "]), question.upper())
    return {
        "the question as it is": question,
        "question and lettered choices": lettered.replace("\n", "  "),
        "upper case, other spaces and commas": marked,
        "13 units of it": question[spans[first][0] : spans[first + 12][1]],
        "12 units of it (no overlap)": f"qx {question[spans[first][0] : spans[first + 11][1]]} qx",
    }


def write_planted(items, index, hosts, command) -> None:
    """Plant questions in clean documents and count which are found."""
    draw = random.Random(0)
    rows, missed = [], Counter()
    for benchmark, language in (("mmlu", "en"), ("cmmlu", "zh")):
        fit = [
            item
            for item in items
            if item.benchmark == benchmark and len(units(item.views[0])) >= 16
        ]
        chosen = draw.sample(fit, min(PLANTED, len(fit)))
        pool = [d.text for name, docs in hosts.items() if name.startswith(language) for d in docs]
        pool = [t[:HOST_CHARS] for t in pool if len(t) >= HOST_CHARS]
        clean = [t for t in pool if index.overlaps(t) is None]
        grams = {item.id: at_spaces(item.views[0]) for item in chosen}
        counts: dict[str, list[int]] = {}
        for item in chosen:
            for form, planted in planted_forms(item, draw).items():
                host = draw.choice(clean)
                gap = "" if language == "zh" else " "
                middle = host.find(" ", HOST_CHARS // 2) if gap else HOST_CHARS // 2
                text = host[:middle] + gap + planted + gap + host[middle:]
                found = index.overlaps(text)
                ours = found is not None and item.id in {o.item.id for o in found.overlaps}
                spaces = bool(grams[item.id] & at_spaces(text))
                row = counts.setdefault(form, [0, 0])
                row[0] += ours
                row[1] += spaces
                if form == "13 units of it" and not ours:
                    words = {unit for unit in units(planted) if is_word(unit)}
                    missed["formula" if len(words) < index.config.min_words else "template"] += 1
        for form, (ours, spaces) in counts.items():
            low, high = share_interval(ours, len(chosen))
            shown = f"{ours} ({100 * low:.0f} – {100 * high:.0f} %)"
            rows.append([language, benchmark, form, str(len(chosen)), shown, str(spaces)])
    heads = ["language", "items of", "planted", "n", "found (95 %)", "13-grams split at spaces"]
    body = f"""Questions of at least 16 units, each put into the middle of a clean document.

{table(heads, rows)}

Of the runs of 13 units that were missed, {missed["template"]} stand in more than 20 items (the
words that open every question of a kind) and {missed["formula"]} are formulas with fewer than 4
words; the settings say so. Split at spaces a Chinese question is one word and has no 13-gram; what
is found so holds Latin words or formulas.

{OUTSIDE}

{command}"""
    write_section(PAGE, "decontamination-planted", "What is missed: planted questions", body)


def write_speed(sets, items, config, rounds: int, command) -> None:
    """Measure building, opening and checking on one processor."""
    build, rates = [], {name: [] for name in ("English", "Chinese", "conversations")}
    for _ in range(rounds):
        started = time.perf_counter()
        index = BenchmarkIndex.build(items, config)
        build.append(time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index.save(path)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        started = time.perf_counter()
        index = BenchmarkIndex.open(path)
        opened = time.perf_counter() - started
        for _ in range(rounds):
            for name, prefix in (("English", "en_"), ("Chinese", "zh_"), ("conversations", "")):
                chosen = {
                    key: group
                    for key, group in sets.items()
                    if (key.startswith(prefix) if prefix else not re.match("en_|zh_", key))
                }
                amount = sum(len(d.text.encode()) for group in chosen.values() for d in group)
                started = time.perf_counter()
                found_in(chosen, index, config)
                rates[name].append(amount / 1e6 / (time.perf_counter() - started))
    rows = [
        [name, f"{statistics.median(found):.1f}", ", ".join(f"{x:.1f}" for x in found)]
        for name, found in rates.items()
    ]
    seconds = ", ".join(f"{x:.1f}" for x in build)
    body = f"""One process, {which_kernels()}; {len(items):,} items of all 17 files.

{table(["text", "MB/s (median)", "all samples"], rows)}

The index is built in {statistics.median(build):.1f} s ({seconds}), once for a run; saved it has
{format_bytes(size)} and is opened in {1000 * opened:.0f} ms: workers map it into memory and share
it.

{OUTSIDE}

{command}"""
    write_section(PAGE, "decontamination-speed", "Speed", body)


def main() -> None:
    """Run all parts and write the page's sections."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="few texts, to see that it works")
    args = parser.parse_args()
    data = Path(os.environ.get("OPENQWEN_DATA") or sys.exit("OPENQWEN_DATA is not set"))
    command = provenance("python benchmarks/decontamination_study.py")
    config = DecontaminateConfig(action="report")
    items = read_benchmark_files([data / "benchmarks"])
    with tempfile.TemporaryDirectory() as folder:
        sets = texts(data, args.smoke) | instructions(data, Path(folder))
    write_speed(sets, items, config, args.rounds, command)
    index = BenchmarkIndex.build(items, config)
    write_found(found_in(sets, index, config), sets, items, index, command)
    write_planted(items, index, sets, command)
    write_settings(sets, items, command)
    print(PAGE)


if __name__ == "__main__":
    main()
