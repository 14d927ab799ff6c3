"""`openqwen reward`: train a reward model on one's own preference pairs."""

import argparse

from openqwen.cli.recipe_arguments import (
    add_tuning_arguments,
    model_directory,
    output_directory,
    run_stage,
    set_data,
)

NAME = "reward"
HELP = "train a reward model on preference pairs, from a language or a preference model"
MANUAL = """\
Pairs are rows of prompt, chosen and rejected, as openqwen preferences writes them."""
DOCS = "docs/ppo.md"
EXAMPLE = "openqwen reward runs/tiny/preference --data pairs.jsonl --out my-reward --recipe tiny"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_tuning_arguments(parser)
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="FILE", help="pairs: JSON, JSONL or Parquet"
    )


def run(args: argparse.Namespace) -> int:
    """Run the reward stage on the user's files alone."""
    out = output_directory(args)
    set_data(args, "reward", args.data)
    run_stage("reward", args, {"base": model_directory(args.model)}, out)
    return 0
