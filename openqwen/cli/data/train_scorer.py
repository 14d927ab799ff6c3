"""`openqwen data train-scorer`: a model that scores documents, from a user's own texts."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from openqwen.core.errors import UserError

if TYPE_CHECKING:
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.scores.scorer import Card

NAME = "train-scorer"
HELP = "train a perplexity, quality or offensive-content scorer from texts, for scores.models"
MANUAL = """\
A scorer gives each text a number: perplexity by an n-gram model, or a classifier's view of its
quality. Texts to learn from are your own files, or marks that people gave."""
DOCS = "docs/scores.md"
EXAMPLE = """
openqwen data train-scorer --kind perplexity --in good/zh --language zh --out scorers/perplexity-zh
openqwen data train-scorer --kind quality --good good.jsonl --bad bad.jsonl --language en --out q-en
openqwen data train-scorer --kind quality --marks marks.json --documents corpus/documents --out q
openqwen data train-scorer --kind model --model runs/tiny/base --in good/en --out m-en
"""
KINDS = ("perplexity", "quality", "offensive", "model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("--kind", required=True, choices=KINDS, help="what it scores")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument(
        "--language",
        action="append",
        default=[],
        metavar="CODE",
        help="ISO 639-1 code it judges; may be given often for classifiers (none: any language)",
    )
    texts = parser.add_argument_group("texts to learn from")
    for option, what in (
        ("in", "good texts, for perplexity and model: files or folders of .jsonl .parquet .txt"),
        ("good", "good (clean) samples of a classifier"),
        ("bad", "bad (offensive) samples of a classifier"),
        ("documents", "Parquet files of documents and drops that --marks speaks of"),
    ):
        texts.add_argument(
            f"--{option}", dest=f"{option}_paths", nargs="+", default=[], metavar="PATH", help=what
        )
    texts.add_argument("--marks", help="marks saved by an audit page, in place of good and bad")
    parser.add_argument("--model", help="model directory, for --kind model")
    parser.add_argument("--prefix", default="", help="before the scores' names in documents")
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting: word_order, character_order, min_count, max_units, num_bits, l2, "
        "num_folds, max_samples, reference_share",
    )


def run(args: argparse.Namespace) -> int:
    """Train, and print how well it does on texts it has not seen."""
    from openqwen.core.log import say
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.scores.train import describe

    set_aside = SetAside()
    card = _train(args, set_aside)
    for name, value in describe(card).items():
        say(f"{name:<28}{_shown(value)}")
    if set_aside.counts:
        say(f"{'samples':<28}{set_aside.summary()}")
    say(f"{'written':<28}{args.out}   use it: --set documents.scores.models='[\"{args.out}\"]'")
    return 0


def _train(args: argparse.Namespace, set_aside: "SetAside") -> "Card":
    from openqwen.core.config import parse_config
    from openqwen.data.scores.config import ScorerTraining
    from openqwen.data.scores.samples import read_marks, read_texts
    from openqwen.data.scores.train import (
        calibrate,
        make_language_model_scorer,
        train_perplexity,
        train_quality,
    )
    from openqwen.lineage.language_scorer import open_language_model

    config = parse_config(ScorerTraining, _settings(args.assignments), where="--set")
    out = Path(args.out)
    paths = {name: _paths(args, name) for name in ("in", "good", "bad", "documents")}
    if args.kind in ("quality", "offensive"):
        if args.marks:
            good, bad = read_marks(Path(args.marks), paths["documents"], set_aside)
        elif paths["good"] and paths["bad"]:
            good = list(read_texts(paths["good"], set_aside))
            bad = list(read_texts(paths["bad"], set_aside))
        else:
            raise UserError(f"--kind {args.kind} needs --good and --bad, or --marks")
        return train_quality(
            args.kind, good, bad, args.language, out, config, set_aside, prefix=args.prefix
        )
    if not paths["in"]:
        raise UserError(f"--kind {args.kind} needs --in, good texts")
    if len(args.language) != 1 and args.kind == "perplexity":
        raise UserError("--kind perplexity needs one --language, as zh")
    texts = read_texts(paths["in"], set_aside)
    if args.kind == "perplexity":
        return train_perplexity(texts, args.language[0], out, config, set_aside, prefix=args.prefix)
    if not args.model:
        raise UserError("--kind model needs --model, a model directory")
    make_language_model_scorer(Path(args.model), args.language, out, prefix=args.prefix)
    return calibrate(out, texts, set_aside, open_language_model)


def _paths(args: argparse.Namespace, name: str) -> list[Path]:
    return [Path(path).expanduser() for path in getattr(args, f"{name}_paths")]


def _settings(assignments: list[str]) -> dict[str, float]:
    settings = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise UserError(f"--set {assignment}: give KEY=NUMBER, as num_bits=20") from None
        settings[key] = int(number) if number.is_integer() else number
    return settings


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " … ".join(f"{x:.4f}" for x in value) + "   (95 %)"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
