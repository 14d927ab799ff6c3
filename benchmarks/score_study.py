"""What model scores tell good from bad text, by language and kind of fault, and how fast.

    python benchmarks/score_study.py --data $OPENQWEN_DATA --packages DEBS --fasttext ENV/bin/python

DEBS is a folder of Debian packages (named in score_texts.py) from `apt-get download`. Train and
test share no source. Writes the measured part of docs/scores.md with --write-docs. Not reproducible
outside: $OPENQWEN_DATA is a development folder.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section
from score_report import report
from score_texts import Corpus, Sample

from openqwen.core.documents import Document
from openqwen.core.ngrams import units
from openqwen.data.inputs.origin import SetAside
from openqwen.data.scores.config import ScorerTraining, ScoresConfig
from openqwen.data.scores.features import FeatureSpace
from openqwen.data.scores.logistic import SparseRows, fit_logistic
from openqwen.data.scores.measures import area_interval, area_under_curve
from openqwen.data.scores.reading import Reader
from openqwen.data.scores.scorer import open_scorer
from openqwen.data.scores.step import ScoreDocuments
from openqwen.data.scores.train import calibrate, train_perplexity, train_quality
from openqwen.data.steps import Rejected

LANGUAGES = ("en", "zh")
RESAMPLES = 400
CALIBRATION = 300  # good test texts that only set the reference
SIGNS = {"quality": 1.0, "perplexity": -1.0, "context_gain": 1.0}  # towards good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--fasttext", help="python of an environment with fasttext-numpy2")
    parser.add_argument("--limit", type=int, default=1400, help="good samples a part")
    parser.add_argument("--max-units", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    corpus = Corpus(args.data, args.packages, seed=args.seed)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for language in LANGUAGES:
            results[language] = study(corpus, language, Path(folder), args)
            print(json.dumps({language: results[language]}, ensure_ascii=False), flush=True)
        offence = study_offence(args.data, Path(folder))
        print(json.dumps({"offence": offence}), flush=True)
    if args.write_docs:
        command = (
            "python benchmarks/score_study.py --data $OPENQWEN_DATA --packages DEBS "
            "--fasttext ENV/bin/python"
        )
        body = report(results, offence, args.seed, CALIBRATION) + "\n\n" + provenance(command)
        page = ROOT / "docs" / "scores.md"
        write_section(page, "score_study", "What the scores tell, measured", body)


def study(corpus: Corpus, language: str, folder: Path, args: argparse.Namespace) -> dict:
    """Train on one set of sources, judge texts of others."""
    train = corpus.samples(language, "train", args.limit)
    test = corpus.samples(language, "test", args.limit + CALIBRATION)
    apart = [s for s in test if s.kind == "good"][:CALIBRATION]
    test = [s for s in test if s not in apart]
    language_model, quality = folder / f"p-{language}", folder / f"q-{language}"
    start = time.perf_counter()
    texts = corpus.prose(language, "train")
    config = ScorerTraining(max_units=args.max_units)
    model = train_perplexity(texts, language, language_model, config, SetAside())
    seconds = {"perplexity": time.perf_counter() - start}
    start = time.perf_counter()
    good, bad = split(train)
    card = train_quality("quality", good, bad, (language,), quality, config, SetAside())
    seconds["quality"] = time.perf_counter() - start
    paths = (str(language_model), str(quality))
    documents = [as_document(s, i, language) for i, s in enumerate(test)]
    outcomes = list(ScoreDocuments(ScoresConfig(models=paths))(documents))
    result = {
        "train": {"good": len(good), "bad": len(bad), "units": model.training["units"]},
        "ngrams": model.training["ngrams"],
        "train_s": {name: round(value, 1) for name, value in seconds.items()},
        "held_out_in_training_sources": card.training,
        "test": counts(test),
        "areas": areas(test, outcomes),
        "combined": combined(test, outcomes, args.seed),
        "dropped": dropped(test, outcomes),
        "speed": speed(paths, documents, args.rounds),
    }
    if args.fasttext:
        result["fasttext"] = peer(train, test, language, quality, args)
    for path in (language_model, quality):
        calibrate(path, [s.text for s in apart], SetAside())
    for name, votes in (("dropped_calibrated", 2), ("dropped_one_vote", 1)):
        step = ScoreDocuments(ScoresConfig(models=paths, min_votes=votes))
        result[name] = dropped(test, list(step(documents)))
    return result


def split(samples: list[Sample]) -> tuple[list[str], list[str]]:
    good = [s.text for s in samples if s.kind == "good"]
    return good, [s.text for s in samples if s.kind != "good"]


def as_document(sample: Sample, place: int, language: str) -> Document:
    return Document(str(place), "s", "", "", "text/plain", sample.text, language=language)


def counts(samples: list[Sample]) -> dict[str, int]:
    kinds = sorted({s.kind for s in samples} - {"good"})
    return {kind: sum(s.kind == kind for s in samples) for kind in ("good", *kinds)}


def scores_of(outcomes: list, name: str) -> np.ndarray:
    found = [(o.document if isinstance(o, Rejected) else o).scores for o in outcomes]
    return np.array([SIGNS[name] * scores.get(name, -SIGNS[name] * 1e9) for scores in found])


def measured(values: np.ndarray, test: list[Sample], kind: str = "") -> dict:
    """Return the area of good against one kind of bad, or all, with its interval and n."""
    good = values[[s.kind == "good" for s in test]]
    bad = values[[s.kind == kind if kind else s.kind != "good" for s in test]]
    area = area_under_curve(good, bad)
    low, high = area_interval(area, len(good), len(bad))
    return {"auc": round(area, 4), "interval": [round(low, 4), round(high, 4)], "n": len(bad)}


def areas(test: list[Sample], outcomes: list) -> dict:
    kinds = list(counts(test))[1:]
    return {
        name: {
            kind or "all": measured(scores_of(outcomes, name), test, kind) for kind in ["", *kinds]
        }
        for name in SIGNS
    }


def combined(test: list[Sample], outcomes: list, seed: int) -> dict:
    """Fit a line through the scores on half of the test texts; judge the other half."""
    columns = {
        "quality": _logit(scores_of(outcomes, "quality").clip(1e-6, 1 - 1e-6)),
        "perplexity": -np.log(-scores_of(outcomes, "perplexity").clip(-1e6, -1.0)),
        "context_gain": scores_of(outcomes, "context_gain").clip(-20, 20),
    }
    is_good = np.array([s.kind == "good" for s in test])
    fit = np.random.default_rng(seed).random(len(test)) < 0.5
    judged = [s for s, used in zip(test, fit, strict=True) if not used]
    found: dict[str, dict] = {}
    alone = np.zeros(0)
    for names in (("quality",), ("quality", "perplexity"), tuple(columns)):
        values = np.column_stack([columns[name] for name in names])
        values = (values - values[fit].mean(0)) / values[fit].std(0)
        places = np.arange(len(names))
        rows = SparseRows.of([(places, row) for row in values[fit]], len(names))
        weights, _ = fit_logistic(rows, is_good[fit], l2=1e-4)
        margins = values[~fit] @ weights
        key = " + ".join(names)
        found[key] = measured(margins, judged)
        if len(names) == 1:
            alone = margins
        else:
            found[key]["gain"] = paired_gain(alone, margins, is_good[~fit], seed)
    return found


def paired_gain(alone: np.ndarray, more: np.ndarray, is_good: np.ndarray, seed: int) -> list[float]:
    """Return the 95 % interval of the area won, over resamples of the same texts."""
    random = np.random.default_rng(seed)
    good, bad = np.flatnonzero(is_good), np.flatnonzero(~is_good)
    gains = []
    for _ in range(RESAMPLES):
        g, b = random.choice(good, len(good)), random.choice(bad, len(bad))
        gains.append(area_under_curve(more[g], more[b]) - area_under_curve(alone[g], alone[b]))
    return [round(float(x), 4) for x in np.quantile(gains, (0.025, 0.975))]


def _logit(values: np.ndarray) -> np.ndarray:
    return np.log(values / (1 - values))


def dropped(test: list[Sample], outcomes: list) -> dict[str, float]:
    """Return the share of each kind that the default policy drops."""
    lost = np.array([isinstance(o, Rejected) for o in outcomes])
    shares = {
        kind: round(float(lost[[s.kind == kind for s in test]].mean()), 4) for kind in counts(test)
    }
    shares["all bad"] = round(float(lost[[s.kind != "good" for s in test]].mean()), 4)
    return shares


def speed(paths: tuple[str, ...], documents: list[Document], rounds: int) -> dict:
    """Return MB/s of the whole step, of each scorer alone, all samples; as they are and by tens."""
    language = documents[0].language
    tens = [documents[i : i + 10] for i in range(0, len(documents), 10)]
    joined = [
        as_document(Sample("\n".join(d.text for d in ten), "", ""), i, language)
        for i, ten in enumerate(tens)
    ]
    steps = {
        "both": ScoreDocuments(ScoresConfig(models=paths)),
        "perplexity": ScoreDocuments(ScoresConfig(models=paths[:1], min_votes=1)),
        "quality": ScoreDocuments(ScoresConfig(models=paths[1:], min_votes=1)),
    }
    jobs = {(name, "short"): (step, documents) for name, step in steps.items()}
    jobs["both", "long"] = (steps["both"], joined)
    samples: dict[str, list[float]] = {}
    for number in range(rounds + 1):  # the first warms up
        for (name, length), (step, texts) in jobs.items():
            size = sum(len(d.text.encode()) for d in texts) / 1e6
            start = time.perf_counter()
            for _ in step(texts):
                pass
            if number:
                key = f"{name}, {length} texts"
                samples.setdefault(key, []).append(round(size / (time.perf_counter() - start), 1))
    return samples


def peer(
    train: list[Sample], test: list[Sample], language: str, path: Path, args: argparse.Namespace
) -> dict:
    """Return fastText's area and both classifiers' speed on the same test texts, in turns."""
    size = sum(len(s.text.encode()) for s in test) / 1e6
    scorer, reader = open_scorer(path), Reader()
    texts = [s.text for s in test]
    with tempfile.TemporaryDirectory() as folder:
        for name, samples in (("train", train), ("test", test)):
            lines = (
                f"__label__{'good' if s.kind == 'good' else 'bad'} {' '.join(units(s.text))}\n"
                for s in samples
            )
            (Path(folder) / name).write_text("".join(lines), encoding="utf-8")
        command = [args.fasttext, str(ROOT / "benchmarks" / "fasttext_classifier.py")]
        command += [f"{folder}/train", f"{folder}/test", "--rounds", "1"]
        command += ["--ngrams", "3" if language == "zh" else "2"]
        ours, theirs, answer = [], [], {}
        for _ in range(args.rounds):
            start = time.perf_counter()
            for first in range(0, len(texts), 64):
                scorer.scores(reader(texts[first : first + 64], language))
            ours.append(round(size / (time.perf_counter() - start), 1))
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            answer = json.loads(done.stdout)
            theirs.append(round(size / answer["rounds_s"][0], 1))
    return {
        "version": answer["version"],
        "auc": measured(np.array(answer["good"]), test),
        "train_s": round(answer["train_s"], 1),
        "mb_s": theirs,
        "openqwen_mb_s": ours,
    }


def study_offence(data: Path, folder: Path) -> dict:
    """Train on the last replies of a preference set: the rejected against the chosen."""
    with gzip.open(data / "preferences" / "hh_rlhf_harmless.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    last = [
        {side: row[side].rpartition("\n\nAssistant:")[2].strip() for side in ("chosen", "rejected")}
        for row in rows
    ]
    card = train_quality(
        "offensive",
        [row["chosen"] for row in last],
        [row["rejected"] for row in last],
        ("en",),
        folder / "offence",
        ScorerTraining(),
        SetAside(),
    )
    return card.training | {"features": FeatureSpace(ScorerTraining().num_bits).size}


if __name__ == "__main__":
    main()
