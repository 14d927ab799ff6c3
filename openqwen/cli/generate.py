"""`openqwen generate`: continue a text, streamed to standard output."""

import argparse
import sys

from openqwen.cli.model_options import (
    add_model_arguments,
    add_sampling_arguments,
    load_model,
    read_sampling,
)

NAME = "generate"
HELP = "continue a text with a model"
MANUAL = """\
The text is taken as it is, without a chat's frame. With a seed the same text comes again."""
DOCS = "docs/generation.md"
EXAMPLE = 'openqwen generate runs/tiny/base "The following command" --max-new-tokens 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model_arguments(parser)
    parser.add_argument("prompt", help="the text to continue; - reads it from standard input")
    parser.add_argument(
        "--chat", action="store_true", help="take the prompt as a user's message, not as a text"
    )
    add_sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load the model and stream the continuation."""
    from openqwen.core.config import to_plain

    sampling = read_sampling(args)
    lm = load_model(args)
    text = sys.stdin.read() if args.prompt == "-" else args.prompt
    prompt = [{"role": "user", "content": text}] if args.chat else text
    try:
        for piece in lm.stream(prompt, **to_plain(sampling)):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print()
        return 130
    print()
    return 0
