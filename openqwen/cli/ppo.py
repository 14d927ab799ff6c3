"""`openqwen ppo`: reinforcement learning of a chat model from a reward model."""

import argparse

from openqwen.cli.recipe_arguments import (
    add_tuning_arguments,
    model_directory,
    output_directory,
    run_stage,
    set_data,
    stage_directory,
)

NAME = "ppo"
HELP = "improve a chat model against a reward model by PPO; a killed run is taken up again"
MANUAL = """\
Policy, value model, reward model and reference as in §3.2.2; the pretraining loss is mixed in
where shards are given."""
DOCS = "docs/ppo.md"
EXAMPLE = """\
openqwen ppo runs/tiny/chat --reward runs/tiny/reward --data mine.jsonl \\
    --shards runs/tiny/shards --out my-rlhf --recipe tiny"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_tuning_arguments(parser)
    parser.add_argument("--reward", required=True, help="the reward model's directory")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="FILE",
        help="conversations; each one's first question is a query",
    )
    parser.add_argument(
        "--shards",
        help="what `openqwen shards` wrote, for the pretraining-gradient term; without it the term "
        "is off",
    )


def run(args: argparse.Namespace) -> int:
    """Run the chat-rlhf stage on directories given by hand."""
    out = output_directory(args)
    inputs = {"chat": model_directory(args.model), "reward": model_directory(args.reward)}
    if args.shards:
        inputs["shards"] = stage_directory(args.shards, "shards")
    else:
        args.assignments.append("chat_rlhf.pretraining_coefficient=0")
    set_data(args, "chat_rlhf", args.data)
    run_stage("chat-rlhf", args, inputs, out)
    return 0
