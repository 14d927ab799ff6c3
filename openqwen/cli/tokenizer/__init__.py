"""`openqwen tokenizer ACTION`: vocabularies learnt, extended and compared; a file an action."""

import argparse

from openqwen.cli.actions import add_actions

NAME = "tokenizer"
HELP = "train, extend and compare tokenizers"
MANUAL = """\
Byte-level BPE as the report's §2.2 describes it: trained anew, or an existing vocabulary
extended; compared by compression with those of other models."""
DOCS = "docs/tokenizer.md"
EXAMPLE = (
    "openqwen tokenizer train --documents corpus --out my-tokenizer --set tokenizer.num_ranks=8000"
)
ACTIONS = ("train", "extend", "compare", "texts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    add_actions(parser, __name__, ACTIONS)
