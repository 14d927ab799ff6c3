"""`openqwen tokenizer train`: a byte-level BPE vocabulary from a corpus."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_recipe_option, run_stage, stage_directory

NAME = "tokenizer"
HELP = "train a tokenizer on a corpus"
EXAMPLE = (
    "openqwen tokenizer train --documents corpus --out my-tokenizer --set tokenizer.num_ranks=8000"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    train = actions.add_parser("train", help="learn ranks from a documents stage's training split")
    train.add_argument("--documents", required=True, help="what `openqwen data build` wrote")
    train.add_argument("--out", required=True, help="directory to write")
    add_recipe_option(train)


def run(args: argparse.Namespace) -> int:
    """Run the tokenizer stage."""
    documents = stage_directory(args.documents, "documents")
    run_stage("tokenizer", args, {"documents": documents}, Path(args.out))
    return 0
