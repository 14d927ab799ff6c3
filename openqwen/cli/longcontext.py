"""`openqwen longcontext MODEL --text FILE`: Table 3's rows and a passkey grid for any model."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from openqwen.eval.config import METHODS

NAME = "longcontext"
HELP = "measure perplexity by length and passkey retrieval, a method beside another"
MANUAL = """\
Measures what §2.3.2 of the report measures: perplexity at growing lengths with NTK-aware
interpolation, LogN scaling and window attention on and off, and passkeys hidden in long texts."""
DOCS = "docs/longcontext.md"
EXAMPLE = """\
openqwen longcontext runs/tiny/base --text book.txt --lengths 256 512 1024 2048
openqwen longcontext qwen2.5-coder.gguf --text books.jsonl.gz --lengths 1024 4096 16384 \\
    --documents 4 --plot passkeys.png --out measured"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", help="a model directory or a GGUF file")
    parser.add_argument(
        "--text",
        required=True,
        nargs="+",
        type=Path,
        metavar="FILE",
        help="plain text, one document a file, or .jsonl, .json or .parquet, one a row; .gz too",
    )
    perplexity = parser.add_argument_group("perplexity by length")
    perplexity.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        metavar="N",
        help="in tokens; the largest is a multiple of all (½ to 16 × the training's, up to 16,384)",
    )
    perplexity.add_argument(
        "--methods",
        nargs="*",
        choices=METHODS,
        metavar="NAME",
        help=f"rows beside no method: {' '.join(METHODS)} (all)",
    )
    perplexity.add_argument(
        "--windows",
        type=int,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="windows of the lowest and highest layer, in tokens (½ and 4 × the training's)",
    )
    perplexity.add_argument("--documents", type=int, default=8, help="documents used at most (8)")
    _add_passkeys(parser)
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (auto)")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the passkey grid there, as PNG"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep finished measures, results.json and pictures there; the same command then goes "
        "on from them. A name that ends in .json gets the results alone",
    )


def _add_passkeys(parser: argparse.ArgumentParser) -> None:
    passkeys = parser.add_argument_group("passkeys")
    passkeys.add_argument(
        "--passkey-lengths", type=int, nargs="+", metavar="N", help="in tokens (the lengths)"
    )
    passkeys.add_argument(
        "--depths",
        type=float,
        nargs="+",
        metavar="X",
        help="places of the passkey, 0 at the start and 1 at the end (0.1 0.5 0.9)",
    )
    passkeys.add_argument(
        "--trials", type=int, default=4, help="passkeys a length and depth; 0 for no grid (4)"
    )
    passkeys.add_argument("--seed", type=int, default=0, help="draws the passkeys (0)")


def run(args: argparse.Namespace) -> int:
    """Measure, print the table and the grid, write what was asked for."""
    from openqwen.core.errors import UserError
    from openqwen.core.files import write_json
    from openqwen.core.log import say, warn
    from openqwen.eval.kept import keep_directory
    from openqwen.eval.long_context_table import format_grid, format_table, measure_long_context
    from openqwen.eval.texts import read_long_texts
    from openqwen.infer.load import load

    lm = load(args.model, dtype=args.dtype, device=args.device)
    if lm.tokenizer is None:
        raise UserError(f"{args.model} has no tokenizer, so text can't be encoded")
    warn(f"{args.model}: {lm.describe()}")
    config = read_settings(args, lm.config.train_length)
    most = round(max(config.length_multiples) * lm.config.train_length)
    documents = read_long_texts(
        args.text, lm.tokenizer, num_tokens=most + 1, count=config.num_documents
    )
    is_file = args.out is not None and args.out.suffix == ".json"
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if args.out is None or is_file else args.out
        identity = {"settings": config.model_dump(mode="json"), "seed": args.seed}
        files = {"model": Path(args.model)} | {str(path): path for path in args.text}
        kept = keep_directory(place, identity | {"loaded as": lm.describe()}, files)
        results = measure_long_context(
            lm.model, lm.tokenizer, documents, config, seed=args.seed, kept=kept
        )
    for line in [*format_table(results), *format_grid(results)]:
        say(line)
    draw(args, results, is_file=is_file)
    if args.out:
        write_json(args.out if is_file else args.out / "results.json", results)
    return 0


def read_settings(args: argparse.Namespace, train_length: int) -> Any:
    """Return the measure's settings of a command line.

    Raises:
        UserError: if one is out of range.
    """
    from openqwen.core.config import parse_config
    from openqwen.eval.config import LongContextConfig
    from openqwen.eval.long_context_table import usual_lengths

    def shares(lengths: list[int]) -> list[float]:
        return [length / train_length for length in lengths]

    lengths = args.lengths or usual_lengths(train_length)
    settings: dict[str, Any] = {
        "num_documents": args.documents,
        "passkey_trials": args.trials,
        "length_multiples": shares(lengths),
        "passkey_multiples": shares(args.passkey_lengths or lengths),
    }
    if args.methods is not None:
        settings["methods"] = args.methods
    if args.windows:
        settings["window_shares"] = shares(args.windows)
    if args.depths:
        settings["passkey_depths"] = args.depths
    return parse_config(LongContextConfig, settings, where="longcontext")


def draw(args: argparse.Namespace, results: dict[str, Any], *, is_file: bool) -> None:
    """Write the pictures that were asked for."""
    from openqwen.core.files import atomic_path
    from openqwen.report.figures import render_png
    from openqwen.report.sections.longcontext import passkey_plot, perplexity_plot

    plots: dict[Path, Any] = {}
    if results["passkey"]:
        if args.plot:
            plots[args.plot] = passkey_plot(results)
        if args.out and not is_file:
            plots[args.out / "passkeys.png"] = passkey_plot(results)
    if args.out and not is_file:
        plots[args.out / "perplexity.png"] = perplexity_plot(results)
    for path, plot in plots.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(render_png(plot))
