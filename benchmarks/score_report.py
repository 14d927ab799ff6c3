"""The tables that benchmarks/score_study.py writes, from what it measured."""

import statistics

from openqwen.data.kernels.ops import which_kernels
from openqwen.data.scores.scorer import NAMES

LANGUAGES = ("en", "zh")
SIGNS = (*NAMES["quality"], *NAMES["perplexity"])


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def area_text(found: dict) -> str:
    low, high = found["interval"]
    return f"{found['auc']:.3f} ({low:.3f} – {high:.3f})"


def gain_text(found: dict) -> str:
    """Return an area, and what it won over the classifier alone on the same texts."""
    if "gain" not in found:
        return area_text(found)
    low, high = found["gain"]
    won = "no measurable difference" if low <= 0 <= high else f"{low:+.3f} to {high:+.3f}"
    return f"{area_text(found)}, won {won}"


def report(results: dict, offence: dict, seed: int, num_calibration: int) -> str:
    names = "| quality | perplexity | context gain"
    lines = [
        "Train and test share no source: a book, manual or collection is in one of them "
        "(`benchmarks/score_texts.py`). Good are passages of prose. Some bad texts are real: lists "
        "of a page's links, and what extraction leaves out of a page; the others are made from "
        "good text of the same part by chance. Areas under the curve with 95 % intervals; "
        f"0.5 is luck. Seed {seed}. Not reproducible outside.\n",
        f"| good against | n en {names} | n zh {names} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = ["all", *[k for k in results["en"]["test"] if k != "good"]]
    for kind in kinds:
        cells = []
        for language in LANGUAGES:
            found = results[language]["areas"]
            if kind not in found["quality"]:
                cells += ["0", "–", "–", "–"]
                continue
            cells.append(f"{found['quality'][kind]['n']:,}")
            cells += [area_text(found[name][kind]) for name in SIGNS]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += [
        "",
        *combined_lines(results),
        "",
        *policy_lines(results, num_calibration),
        "",
        *peer_lines(results),
    ]
    lines += ["", *speed_lines(results), "", *offence_lines(offence)]
    return "\n".join(lines)


def combined_lines(results: dict) -> list[str]:
    lines = [
        "What the language model adds to the classifier (a line through the scores, fitted on half "
        "of the test texts and judged on the other half; the area won over the classifier alone by "
        "resampling the same texts):\n",
        "| scores | en | zh |",
        "|---|---|---|",
    ]
    for name in results["en"]["combined"]:
        cells = [gain_text(results[language]["combined"][name]) for language in LANGUAGES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    inside = [results[language]["held_out_in_training_sources"] for language in LANGUAGES]
    shown = ", ".join(
        f"{language} accuracy {percent(m['accuracy'])}, area {m['auc']:.3f}"
        for language, m in zip(LANGUAGES, inside, strict=True)
    )
    lines.append(
        f"\nWithin the sources it was trained on, by cross-validation, the classifier shows "
        f"{shown}. `train-scorer` prints that number; the first row above shows other sources."
    )
    return lines


def policy_lines(results: dict, num_calibration: int) -> list[str]:
    lines = [
        "What the default policy drops (two votes), with the references as trained, and after "
        f"`calibrate-scorer` on {num_calibration} good texts of the test's sources (not judged), "
        "there with one vote enough too:\n",
        "| kind | en | en calibrated | one vote | zh | zh calibrated | one vote |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in results["en"]["dropped"]:
        cells = [
            percent(results[language][name][kind]) if kind in results[language][name] else "–"
            for language in LANGUAGES
            for name in ("dropped", "dropped_calibrated", "dropped_one_vote")
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def peer_lines(results: dict) -> list[str]:
    if "fasttext" not in results["en"]:
        return ["fastText was not measured in this run."]
    lines = [
        f"Beside fastText (fasttext-numpy2 {results['en']['fasttext']['version']}: word n-grams of "
        "the same lengths, 10 dimensions, 25 epochs, its own process), on the same samples, in "
        "turns. "
        "Ours reads raw text; cutting text into units is not counted for fastText.\n",
        "| language | classifier | area, all kinds | MB/s, median | all samples |",
        "|---|---|---|---|---|",
    ]
    for language in LANGUAGES:
        found = results[language]["fasttext"]
        for name, area, rates in (
            ("openqwen", results[language]["areas"]["quality"]["all"], found["openqwen_mb_s"]),
            ("fastText", found["auc"], found["mb_s"]),
        ):
            samples = ", ".join(map(str, rates))
            rate = f"{statistics.median(rates):.1f}"
            lines.append(f"| {language} | {name} | {area_text(area)} | {rate} | {samples} |")
    return lines


def speed_lines(results: dict) -> list[str]:
    lines = [
        f"Speed of the step on one core, {which_kernels()} for units (short: texts as above, about "
        "2.4 kB; long: ten of them joined):\n",
        "| language | scorers | MB/s, median | all samples |",
        "|---|---|---|---|",
    ]
    for language in LANGUAGES:
        for name, rates in results[language]["speed"].items():
            samples = ", ".join(map(str, rates))
            lines.append(f"| {language} | {name} | {statistics.median(rates):.1f} | {samples} |")
        found = results[language]
        lines.append(
            f"| {language} | training | {found['train_s']['perplexity']} s for "
            f"{found['train']['units']:,} units ({found['ngrams']:,} n-grams kept) | "
            f"{found['train_s']['quality']} s for {found['train']['good']:,} good and "
            f"{found['train']['bad']:,} bad samples |"
        )
    return lines


def offence_lines(offence: dict) -> list[str]:
    low, high = offence["auc_interval"]
    least, most = (percent(share) for share in offence["accuracy_interval"])
    weak = " That is weak: a rejected reply is often only less polite." if high < 0.75 else ""
    return [
        "An offensive-content classifier from what is at hand, the last replies of "
        f"{offence['good']:,} chosen and {offence['bad']:,} rejected conversations (harmless-base, "
        f"English): cross-validated accuracy {percent(offence['accuracy'])} ({least} – {most}), "
        f"area {offence['auc']:.3f} ({low:.3f} – {high:.3f}).{weak} Nothing is shipped; train it "
        "from samples of your own."
    ]
