"""`openqwen data score`: scores of files for a look, with what the policy would drop."""

import argparse
from pathlib import Path

NAME = "score"
HELP = "score texts with trained scorers and show the spread, the extremes and the verdicts"
MANUAL = """\
Prints the scores of texts; nothing is dropped."""
DOCS = "docs/scores.md"
EXAMPLE = "openqwen data score --model scorers/perplexity-zh scorers/quality-zh --in pages.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--model", dest="models", nargs="+", required=True, metavar="DIR", help="scorers"
    )
    parser.add_argument(
        "--in", dest="paths", nargs="+", required=True, metavar="PATH", help="texts to score"
    )
    parser.add_argument("--language", help="of all texts; otherwise it is identified")
    parser.add_argument(
        "--votes", type=int, help="votes that drop a document (2, or 1 for a single scorer)"
    )
    parser.add_argument("--out", help="JSON Lines file to write: id, language, scores, reason")


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from dataclasses import replace

    from openqwen.core.config import parse_config
    from openqwen.core.files import write_text
    from openqwen.core.log import say
    from openqwen.data.config import DocumentsConfig
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.language.identify import identify_languages
    from openqwen.data.scores.config import ScoresConfig
    from openqwen.data.scores.look import look, rows
    from openqwen.data.scores.samples import read_documents
    from openqwen.data.scores.step import ScoreDocuments
    from openqwen.lineage.language_scorer import open_language_model

    votes = args.votes or min(2, len(args.models))
    settings = {"models": args.models, "min_votes": votes}
    config = parse_config(ScoresConfig, settings, where="--votes")
    step = ScoreDocuments(config, open_language_model)
    set_aside = SetAside()
    documents = read_documents([Path(path).expanduser() for path in args.paths], set_aside)
    if args.language:
        known = (replace(document, language=args.language) for document in documents)
        outcomes = list(step(known))
    else:
        outcomes = list(step(identify_languages(DocumentsConfig().language, documents)))  # type: ignore[arg-type]
    for line in look(outcomes, step.report):
        say(line)
    if set_aside.counts:
        say(f"{'pages':<26}{set_aside.summary()}")
    if args.out:
        write_text(Path(args.out), "".join(rows(outcomes)))
    return 0
