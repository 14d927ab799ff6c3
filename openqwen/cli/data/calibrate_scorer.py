"""`openqwen data calibrate-scorer`: thresholds by quantile, from a user's own texts."""

import argparse
from pathlib import Path

NAME = "calibrate-scorer"
HELP = "replace a scorer's reference texts, which its quantile thresholds are looked up in"
MANUAL = """\
Measures a scorer's quantiles on texts of your own, so that thresholds are shares of your texts."""
DOCS = "docs/scores.md"
EXAMPLE = "openqwen data calibrate-scorer scorers/perplexity-zh --in a-sample-of-my-crawl.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("scorer", metavar="SCORER", help="a scorer's directory")
    parser.add_argument(
        "--in", dest="paths", nargs="+", required=True, metavar="PATH", help="reference texts"
    )
    parser.add_argument("--language", default="", help="of the texts, if the scorer judges several")


def run(args: argparse.Namespace) -> int:
    """Score the texts and keep their quantiles."""
    from openqwen.core.log import say
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.scores.samples import read_texts
    from openqwen.data.scores.train import calibrate, describe
    from openqwen.lineage.language_scorer import open_language_model

    set_aside = SetAside()
    texts = read_texts([Path(path).expanduser() for path in args.paths], set_aside)
    path = Path(args.scorer).expanduser()
    card = calibrate(path, texts, set_aside, open_language_model, language=args.language)
    for name, value in describe(card).items():
        if name.startswith(("reference", "quantiles")):
            say(f"{name:<28}{value}")
    if set_aside.counts:
        say(f"{'texts':<28}{set_aside.summary()}")
    return 0
