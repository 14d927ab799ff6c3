"""`openqwen pretrain RECIPE`: train a base model on token shards."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_settings, run_stage, stage_directory

NAME = "pretrain"
HELP = "pretrain a model on token shards; a killed run is taken up again"
MANUAL = """\
Under torchrun several processes train together; the result does not depend on where a run was
stopped. Settings are those of the recipe's section `base`."""
DOCS = "docs/pretraining.md"
EXAMPLE = "openqwen pretrain tiny --shards my-shards --tokenizer my-tokenizer --out my-base"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("recipe", help="a built-in recipe (tiny, mini) or a TOML file")
    parser.add_argument("--shards", required=True, help="what `openqwen shards` wrote")
    parser.add_argument("--tokenizer", required=True, help="what `openqwen tokenizer train` wrote")
    parser.add_argument("--out", required=True, help="directory to write, an export directory")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Run the base stage."""
    inputs = {
        "shards": stage_directory(args.shards, "shards"),
        "tokenizer": stage_directory(args.tokenizer, "tokenizer"),
    }
    run_stage("base", args, inputs, Path(args.out))
    return 0
