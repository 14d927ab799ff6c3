"""`openqwen shards`: a corpus as token ids, shuffled and merged."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_recipe_option, run_stage, stage_directory

NAME = "shards"
HELP = "encode a corpus into shuffled token shards with a validation split"
MANUAL = """\
A stage of a recipe, by itself: what openqwen pretrain reads."""
DOCS = "docs/pretraining.md"
EXAMPLE = "openqwen shards --documents corpus --tokenizer my-tokenizer --out my-shards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--documents", required=True, help="what `openqwen data build` wrote")
    parser.add_argument("--tokenizer", required=True, help="what `openqwen tokenizer train` wrote")
    parser.add_argument("--out", required=True, help="directory to write")
    add_recipe_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the shards stage."""
    inputs = {
        "documents": stage_directory(args.documents, "documents"),
        "tokenizer": stage_directory(args.tokenizer, "tokenizer"),
    }
    run_stage("shards", args, inputs, Path(args.out))
    return 0
