"""`openqwen tokenizer train`: a byte-level BPE vocabulary from a corpus."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_recipe_option, run_stage, stage_directory

NAME = "train"
HELP = "learn ranks from a documents stage's training split"
MANUAL = """\
Trains merges on a corpus that openqwen data build or a recipe has made."""
DOCS = "docs/tokenizer.md"
EXAMPLE = (
    "openqwen tokenizer train --documents corpus --out my-tokenizer --set tokenizer.num_ranks=8000"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("--documents", required=True, help="what `openqwen data build` wrote")
    parser.add_argument("--out", required=True, help="directory to write")
    add_recipe_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tokenizer stage."""
    documents = stage_directory(args.documents, "documents")
    run_stage("tokenizer", args, {"documents": documents}, Path(args.out))
    return 0
