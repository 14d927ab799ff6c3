"""`openqwen convert`: a model from one published layout into another."""

import argparse
from pathlib import Path

NAME = "convert"
HELP = "write a model in another layout: Qwen-1, Qwen2, an export directory or GGUF"
MANUAL = """\
Also names to other programs: transformers and vLLM read qwen2, llama.cpp GGUF."""
DOCS = "docs/generation.md"
EXAMPLE = """
openqwen convert Qwen-7B-Chat qwen-7b-chat --to qwen2          # for vLLM, SGLang, transformers
openqwen convert qwen-7b-chat qwen-7b-chat.gguf --to gguf --type q8_0         # for llama.cpp
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "source",
        metavar="IN",
        help="a model directory in any layout we read, a GGUF file, a hub id",
    )
    parser.add_argument("out", metavar="OUT", help="a new directory; for gguf a new file")
    parser.add_argument(
        "--to",
        required=True,
        choices=("qwen1", "qwen2", "openqwen", "gguf"),
        help="the layout; openqwen is the export directory: Qwen2's with long-context methods kept",
    )
    parser.add_argument(
        "--type",
        dest="kind",
        choices=("f32", "f16", "bf16", "q8_0"),
        help="type of the matrices (as they are; q8_0 for gguf only)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert."""
    from openqwen.infer.convert import convert
    from openqwen.infer.hub import find_model

    convert(find_model(args.source), Path(args.out), to=args.to, kind=args.kind)
    return 0
