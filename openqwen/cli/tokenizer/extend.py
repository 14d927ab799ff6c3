"""`openqwen tokenizer extend`: the report's way: given ranks, and more learnt behind them."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_settings

NAME = "extend"
HELP = "add tokens learnt from text behind given ranks (cl100k's by default)"
MANUAL = """\
Adds tokens to an existing vocabulary; the ids of the existing ones stay."""
DOCS = "docs/tokenizer.md"
EXAMPLE = (
    "openqwen tokenizer texts --out texts\n"
    "openqwen tokenizer extend --in texts/train --out my-tokenizer\n"
    "openqwen tokenizer extend --in corpus/documents --from qwen --out larger "
    "--set extend.num_ranks=160000"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--in",
        dest="inputs",
        metavar="PATH",
        nargs="+",
        required=True,
        help="a documents stage's directory, folders or files of text (LANGUAGE.jsonl …)",
    )
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument(
        "--from",
        dest="base",
        metavar="NAME_OR_PATH",
        default="cl100k",
        help="ranks to start from: cl100k, qwen, bytes (none), a rank file or tokenizer (cl100k)",
    )
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Extend the vocabulary."""
    from openqwen.core.log import warn
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.texts.text_files import read_texts
    from openqwen.tokenizer.extend import extend_tokenizer
    from openqwen.tokenizer.extend_base import open_base
    from openqwen.tokenizer.extend_config import parse_extend_settings

    config = parse_extend_settings(args.assignments)
    base = open_base(args.base)
    set_aside = SetAside()
    paths = [Path(name).expanduser() for name in args.inputs]
    documents = read_texts(paths, split="train", set_aside=set_aside)
    extend_tokenizer(config, base, documents, Path(args.out))
    if summary := set_aside.summary():
        warn(summary)
    return 0
