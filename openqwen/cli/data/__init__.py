"""`openqwen data ACTION`: from raw pages to a corpus, and the tools around it; a file an action."""

import argparse

from openqwen.cli.actions import add_actions

NAME = "data"
HELP = "build a corpus: extraction, language, deduplication, filters, mixture"
MANUAL = """\
The whole way from pages to a corpus is `build`; the other actions are single steps of it, for
files that you have, and what is made of people's marks."""
DOCS = "docs/data.md"
EXAMPLE = "openqwen data build --in my/pages --out corpus"
ACTIONS = (
    "build",
    "dedup",
    "decontaminate",
    "marks",
    "ablate",
    "train_scorer",
    "calibrate_scorer",
    "score",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    add_actions(parser, __name__, ACTIONS)
