"""`openqwen chat`: talk with a model in the terminal."""

import argparse
import sys

from openqwen.cli.model_options import (
    add_model_arguments,
    add_sampling_arguments,
    load_model,
    read_sampling,
)

NAME = "chat"
HELP = "talk with a model in the terminal"
MANUAL = """\
A conversation with history; inside it /help lists what can be typed."""
DOCS = "docs/generation.md"
EXAMPLE = "openqwen chat runs/tiny/base --context 1024"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model_arguments(parser)
    parser.add_argument("--system", metavar="TEXT", help="system prompt (ChatML's default)")
    add_sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load the model and talk until the input ends."""
    from openqwen.core.errors import UserError
    from openqwen.infer.chat import Chat

    sampling = read_sampling(args)
    lm = load_model(args)
    if lm.tokenizer is None:
        raise UserError(f"{args.model} has no tokenizer; chat needs one")
    Chat(lm, sampling, stdin=sys.stdin, stdout=sys.stdout, system=args.system).run()
    return 0
