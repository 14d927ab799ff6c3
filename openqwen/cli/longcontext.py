"""`openqwen longcontext MODEL --text FILE`: Table 3's rows for any model."""

import argparse
import tempfile
from pathlib import Path

NAME = "longcontext"
HELP = "measure perplexity by length and passkey retrieval with each long-context method"
EXAMPLE = "openqwen longcontext runs/tiny/base --text book.txt --lengths 256 512 1024 2048"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", help="export directory")
    parser.add_argument(
        "--text", required=True, nargs="+", metavar="FILE", help="plain text, one document a file"
    )
    parser.add_argument(
        "--lengths", type=int, nargs="+", metavar="N", help="in tokens (½ to 16 × the training's)"
    )
    parser.add_argument("--documents", type=int, default=8, help="documents used at most (8)")
    parser.add_argument("--trials", type=int, default=4, help="passkeys a length and depth (4)")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--seed", type=int, default=0, help="draws the passkeys")
    parser.add_argument("--out", metavar="FILE", help="write the results there as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print the table."""
    import torch

    from openqwen.core.config import parse_config
    from openqwen.core.errors import UserError
    from openqwen.core.files import write_json
    from openqwen.core.log import say
    from openqwen.eval.config import LongContextConfig
    from openqwen.eval.long_context_table import format_table, measure_long_context
    from openqwen.infer.load import load

    lm = load(args.model, dtype=args.dtype)
    if lm.tokenizer is None:
        raise UserError(f"{args.model} has no tokenizer, so text can't be encoded")
    settings = {"num_documents": args.documents, "passkey_trials": args.trials}
    if args.lengths:
        train_length = lm.config.train_length
        settings["length_multiples"] = [length / train_length for length in args.lengths]
    config = parse_config(LongContextConfig, settings, where="longcontext")
    documents = [torch.tensor(lm.tokenizer.encode(read_text(path))) for path in args.text]
    with tempfile.TemporaryDirectory() as scratch:
        results = measure_long_context(
            lm.model,
            lm.tokenizer,
            documents,
            config,
            seed=args.seed,
            kept=Path(scratch) / "partial.jsonl",
        )
    for line in format_table(results):
        say(line)
    if args.out:
        write_json(Path(args.out), results)
    return 0


def read_text(path: str) -> str:
    """Return a UTF-8 file's text.

    Raises:
        UserError: if it can't be read as such.
    """
    from openqwen.core.errors import UserError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--text {path}: {error}") from None
