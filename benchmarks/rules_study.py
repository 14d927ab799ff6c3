"""What rules made for English do to good Chinese pages, and what the pipeline drops now.

    OPENQWEN_DATA=... python benchmarks/rules_study.py --write-docs

Also: the block list and the masking of personal data on the same pages and on planted texts, and
the rate of the rules with and without the C++. Writes docs/rules.md. Four minutes.
"""

import argparse
import ctypes
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from personal_data_texts import look_alikes, planted_texts
from published_rules import CHINESE_RULES, RULES, Page, Rule
from results import ROOT, provenance, write_section
from rules_pages import HELP, Pages, read_pages

from openqwen.core.documents import Document
from openqwen.core.files import read_json
from openqwen.core.intervals import share_interval
from openqwen.core.runtime import development_data
from openqwen.data.personal.mask import FINDERS, find_personal_data
from openqwen.data.rules import page_rules, unit_measures
from openqwen.data.rules.apply import apply_rules, find_faults
from openqwen.data.rules.block_list import BlockList, is_too_much, load_block_lists
from openqwen.data.rules.block_list_config import BlockListConfig
from openqwen.data.rules.config import RulesConfig
from openqwen.data.steps import Rejected

PAGE = ROOT / "docs" / "rules.md"
VERDICTS = Path(__file__).with_name("rules_verdicts.json")
FAMILIES = ("Gopher", "Gopher A1", "C4", "FineWeb")
SPEED_BYTES = 12_000_000
CONFIG = RulesConfig()

JUDGE = (
    "50 dropped pages, drawn at random among all dropped Chinese pages but the installation "
    "guide's, **read and judged by a language model**, not by a person. “Right” means that the "
    "page has too little to learn from: a sentence, labels, links, a copy of itself. The reading "
    "led to `min_top_words`: pages that it spares have left the table, so what is left is no fresh "
    "sample. All 50: `benchmarks/rules_verdicts.json`."
)
MASKED_NOTE = (
    "The planted texts and look-alikes were written by the author of the finders, so they show "
    "that the forms meant are found, not how many others there are. A language model read 32 of "
    "the hits on real pages: authors' and mailing lists' addresses, servers' IP addresses, and "
    "invented ones of both kinds, which are masked like real ones. A multicast address and a row "
    "of character codes found then are no longer taken."
)


def percent(count: int, n: int) -> str:
    """Return a share with its 95 % interval by Wilson's score."""
    low, high = share_interval(count, n)
    return f"{count / n:.1%} ({low:.1%} – {high:.1%})"


def columns(pages: dict[str, Pages]) -> dict[str, list[Document]]:
    """Return the good pages of each column of the tables."""
    found = {"Chinese": pages["zh"].good, "English": pages["en"].good}
    for language, name in (("zh", "Chinese"), ("en", "English")):
        found[f"{name}, help"] = [d for d in pages[language].good if d.source == HELP[language]]
    return found


def head(first: str, groups: dict[str, list[Document]]) -> list[str]:
    """Return the two lines that open a table with a column a group."""
    names = [f"{name} (n = {len(documents):,})" for name, documents in groups.items()]
    return [f"| {first} | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]


def published(groups: dict[str, list[Document]]) -> str:
    """Return the table of what each published rule would drop of good pages."""
    counts = {name: Counter[str]() for name in groups}
    for name, documents in groups.items():
        for document in documents:
            page = Page(document.text)
            broken = [rule for rule in [*RULES, *CHINESE_RULES] if rule.drops(page)]
            counts[name].update(_key(rule) for rule in broken)
            families = {rule.family for rule in broken}
            counts[name].update(families)
            counts[name]["all"] += bool(families.intersection(FAMILIES))
            lines = [line for line in document.text.split("\n") if line.strip()]
            counts[name]["lines"] += len(lines)
            counts[name]["lines kept"] += len(page.c4_lines)
            counts[name]["chars"] += sum(map(len, lines))
            counts[name]["chars kept"] += sum(map(len, page.c4_lines))

    def row(title: str, key: str) -> str:
        cells = [percent(counts[name][key], len(groups[name])) for name in groups]
        return f"| {title} | " + " | ".join(cells) + " |"

    lines = head("rule, as published", groups)
    lines += [row(f"{rule.family}: {rule.name.strip()}", _key(rule)) for rule in RULES]
    lines += [row(f"**any of {family}**", family) for family in FAMILIES]
    lines.append(row("**any of these**", "all"))
    lines += [row(f"{rule.family}: {rule.name}", _key(rule)) for rule in CHINESE_RULES]
    lost = [
        f"{name} {1 - counts[name]['lines kept'] / counts[name]['lines']:.0%} of lines with "
        f"{1 - counts[name]['chars kept'] / counts[name]['chars']:.0%} of the text"
        for name in groups
    ]
    note = (
        "FineWeb's marks are those it was made with; its later code counts Chinese ones too. "
        "ChineseWebText and MAP-CC are for Chinese: their English columns only show what they "
        "measure. C4 also deletes single lines; of these good pages it would delete: "
    )
    return "\n".join(lines) + f"\n\n{note}{'; '.join(lost)}."


def _key(rule: Rule) -> str:
    return f"{rule.family}/{rule.name}"


def dropped_now(groups: dict[str, list[Document]], pages: dict[str, Pages]) -> str:
    """Return what today's rules drop of good pages and of all pages, by reason."""
    groups = groups | {"all Chinese pages": pages["zh"].all, "all English pages": pages["en"].all}
    first = {name: Counter[str]() for name in groups}
    every = {name: Counter[str]() for name in groups}
    for name, documents in groups.items():
        for document in documents:
            found = [
                f.reason for f in find_faults(document, CONFIG.for_language(document.language))
            ]
            first[name].update(found[:1])
            every[name].update(set(found))
    reasons = sorted({reason for counts in every.values() for reason in counts})
    lines = head("reason: first one (all that broke it)", groups)
    for reason in reasons:
        cells = [f"{first[name][reason]:,} ({every[name][reason]:,})" for name in groups]
        lines.append(f"| {reason} | " + " | ".join(cells) + " |")
    totals = [percent(first[name].total(), len(groups[name])) for name in groups]
    lines.append("| **dropped** | " + " | ".join(totals) + " |")
    return "\n".join(lines)


def verdicts(pages: dict[str, Pages]) -> str:
    """Return the verdicts on the dropped pages that were read."""
    rows = read_json(VERDICTS)
    now = {
        (outcome.document.source, outcome.document.id): outcome.reason
        for outcome in apply_rules(CONFIG, pages["zh"].all)
        if isinstance(outcome, Rejected)
    }
    still = [row for row in rows if (row["source"], row["id"]) in now]
    table = ["| reason | right to drop | wrong | unsure |", "|---|---|---|---|"]
    by_reason: dict[str, Counter[str]] = {}
    for row in still:
        by_reason.setdefault(row["reason"], Counter())[row["drop"]] += 1
    for reason, counts in sorted(by_reason.items(), key=lambda item: -item[1].total()):
        cells = (str(counts[verdict]) for verdict in ("right", "wrong", "unsure"))
        table.append(f"| {reason} | " + " | ".join(cells) + " |")
    wrong = [row for row in still if row["drop"] == "wrong"]
    right = sum(row["drop"] == "right" for row in still)
    notes = "; ".join(sorted({f"{row['note']} ({row['reason']})" for row in wrong}))
    return "\n".join(table) + (
        f"\n\nRight {percent(right, len(still))} of {len(still)} pages. The wrong ones: {notes}."
    )


def blocked(pages: dict[str, Pages]) -> str:
    """Return what the fetched list would drop: with C4's rule, as substrings, and by our rule."""
    languages = ("zh", "en")
    ours = BlockListConfig(fetched=languages)
    lists = load_block_lists(ours)
    raw = load_block_lists(BlockListConfig(fetched=languages, min_term_chars=1))
    lines = ["| | Chinese | English |", "|---|---|---|"]
    rows: dict[str, Callable[[Document], bool]] = {
        "any hit, every term of the list (C4)": lambda d: raw[d.language].find(d.text).hits > 0,
        "any hit, terms of two characters on": lambda d: lists[d.language].find(d.text).hits > 0,
        "by density and variety (default)": lambda d: _falls(d, ours, lists),
    }
    for title, test in rows.items():
        cells = [
            percent(sum(map(test, pages[language].good)), len(pages[language].good))
            for language in languages
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _falls(document: Document, config: BlockListConfig, lists: dict[str, BlockList]) -> bool:
    return is_too_much(lists[document.language].find(document.text), config)


def masked(pages: dict[str, Pages]) -> str:
    """Return recall and precision on planted texts, and what is found on real pages."""
    kinds = tuple(FINDERS)
    right, planted, found = Counter[str](), Counter[str](), Counter[str]()
    for text in planted_texts():
        wanted = {(start, end, kind.split(",")[0]) for start, end, kind in text.spans}
        got = set(find_personal_data(text.text, kinds))
        for _, _, kind in wanted:
            planted[kind] += 1
        for hit in got:
            found[hit[2]] += 1
            right[hit[2]] += hit in wanted
    alike = list(look_alikes())
    wrong = Counter(kind for text in alike for _, _, kind in find_personal_data(text, kinds))
    real = {
        language: Counter(
            kind for d in pages[language].all for _, _, kind in find_personal_data(d.text, kinds)
        )
        for language in ("zh", "en")
    }
    lines = [
        f"| kind | recall on planted | precision there, with {len(alike)} look-alikes "
        f"| found on {len(pages['zh'].all):,} Chinese pages "
        f"| on {len(pages['en'].all):,} English |",
        "|---|---|---|---|---|",
    ]
    for kind in kinds:
        lines.append(
            f"| {kind} | {percent(right[kind], planted[kind])} "
            f"| {percent(right[kind], found[kind] + wrong[kind])} "
            f"| {real['zh'][kind]:,} | {real['en'][kind]:,} |"
        )
    return "\n".join(lines)


def rates(pages: dict[str, Pages]) -> str:
    """Return MB/s of the rules on one thread, with and without the C++, interleaved."""
    generator = random.Random(0)
    lines = ["| text | with C++, MB/s | plain, MB/s | masking, MB/s |", "|---|---|---|---|"]
    compiled = unit_measures._library()
    for language, name in (("zh", "Chinese"), ("en", "English")):
        documents = list(pages[language].all)
        generator.shuffle(documents)
        documents = _first_bytes(documents, SPEED_BYTES)
        size = sum(len(d.text.encode()) for d in documents) / 1e6
        samples: dict[str, list[float]] = {"compiled": [], "plain": [], "masking": []}
        for _ in range(3):
            samples["compiled"].append(size / _seconds(lambda d=documents: apply_rules(CONFIG, d)))
            _switch(lambda: None)
            samples["plain"].append(size / _seconds(lambda d=documents: apply_rules(CONFIG, d)))
            _switch(lambda: compiled)
            kinds = tuple(FINDERS)
            samples["masking"].append(
                size
                / _seconds(lambda d=documents, k=kinds: (find_personal_data(x.text, k) for x in d))
            )
        cells = [
            f"{median(values):.1f} ({', '.join(f'{x:.1f}' for x in values)})"
            for values in samples.values()
        ]
        lines.append(
            f"| {name}, {len(documents):,} pages, {size:.1f} MB | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def _switch(library: Callable[[], ctypes.CDLL | None]) -> None:
    """Measure with this library from here on; phrases are numbered anew."""
    unit_measures._library = library
    page_rules._phrases.cache_clear()


def _first_bytes(documents: list[Document], limit: int) -> list[Document]:
    taken, size = [], 0
    for document in documents:
        if len(document.text) < limit // 10:  # no single book makes the measure
            taken.append(document)
            size += len(document.text.encode())
        if size > limit:
            break
    return taken


def _seconds(run: Callable[[], Iterable[object]]) -> float:
    start = time.process_time()
    for _ in run():
        pass
    return time.process_time() - start


def sources(pages: dict[str, Pages]) -> str:
    """Return how many pages each source gave."""
    lines = ["| source | pages | of them good |", "|---|---|---|"]
    for found in pages.values():
        good = Counter(document.source for document in found.good)
        for source, count in Counter(document.source for document in found.all).items():
            lines.append(f"| {source} | {count:,} | {good[source]:,} |")
    return "\n".join(lines)


def main() -> None:
    """Print all sections, and write them into the docs where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="sections to make anew")
    args = parser.parse_args()
    data = development_data()
    pages = read_pages(data)
    groups = columns(pages)
    origin = provenance("python benchmarks/rules_study.py --write-docs")
    note = "" if data is None else " Texts under `OPENQWEN_DATA`: not reproducible outside."
    sections: dict[str, tuple[str, Callable[[], str]]] = {
        "published": ("What published rules drop of good pages", lambda: published(groups)),
        "now": ("What the rules drop now", lambda: dropped_now(groups, pages)),
        "verdicts": ("Dropped Chinese pages, read", lambda: f"{JUDGE}\n\n{verdicts(pages)}"),
        "blocked": ("Block list on good pages", lambda: blocked(pages)),
        "masked": ("Personal data", lambda: f"{masked(pages)}\n\n{MASKED_NOTE}"),
        "rates": ("Rate", lambda: rates(pages)),
        "sources": ("Pages", lambda: sources(pages)),
    }
    for name, (title, make) in sections.items():
        if args.only and name not in args.only:
            continue
        body = make()
        print(f"\n## {title}\n\n{body}", flush=True)
        if args.write_docs:
            write_section(PAGE, f"rules-{name}", title, f"{body}\n\n{origin}.{note}")
    print(json.dumps({"zh": len(pages["zh"].all), "en": len(pages["en"].all)}))


if __name__ == "__main__":
    main()
