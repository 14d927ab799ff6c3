"""`openqwen data dedup`: files of documents without their duplicates."""

import argparse
from pathlib import Path
from typing import Any

from openqwen.cli.data.engine_options import add_engine_options, add_engine_settings, free_directory
from openqwen.cli.recipe_arguments import add_settings

NAME = "dedup"
HELP = "drop documents of the same URL, of the same text and near-duplicates"
MANUAL = """\
Drops exact and near duplicates of JSON Lines, Parquet or WARC files, by MinHash and, where
asked for, against the index of earlier crawls."""
DOCS = "docs/deduplication.md"
EXAMPLE = """\
openqwen data dedup --in crawl/*.jsonl.gz --out clean
openqwen data dedup --in november/ --out clean --index seen --threshold 0.8"""
SETTINGS = ("documents.minhash.", "documents.engine.", "documents.partition_bytes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--in",
        dest="inputs",
        nargs="+",
        required=True,
        metavar="PATH",
        help="files, folders or URIs of .jsonl(.gz) and .parquet; rows have id and text, other "
        "columns come along, a url tells pages too",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    parser.add_argument(
        "--index",
        metavar="DIR",
        help="earlier crawls: what is like them goes, what stays joins them; made where missing",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="X", help="Jaccard similarity of near-duplicates (0.7)"
    )
    add_engine_options(parser)
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Deduplicate the files and print what went."""
    from openqwen.core.log import say
    from openqwen.data.dedup.files import dedup_files
    from openqwen.data.engines.engine import open_engine
    from openqwen.data.kernels.ops import which_kernels

    config = _settings(args)
    out = free_directory(Path(args.out), NAME)
    say(f"{'dedup sketch':<24}{which_kernels()}")
    with open_engine(config.engine) as engine:
        counts = dedup_files(
            args.inputs,
            out.absolute(),
            config.minhash,
            engine,
            split_bytes=config.partition_bytes,
            index=Path(args.index).absolute() if args.index else None,
        )
    _say(counts, out, args.index)
    return 0


def _settings(args: argparse.Namespace) -> Any:
    """Return the documents stage's settings; those that play no part here are refused."""
    from openqwen.core.errors import UserError
    from openqwen.recipes.resolve import resolve

    for text in args.assignments:
        if not text.strip().startswith(SETTINGS):
            raise UserError(
                f"--set {text}: data dedup knows documents.minhash.…, documents.engine.… and "
                "documents.partition_bytes"
            )
    add_engine_settings(args)
    if args.threshold is not None:
        args.assignments.insert(0, f"documents.minhash.threshold={args.threshold}")
    return resolve("tiny", args.assignments).recipe.documents


def _say(counts: dict[str, Any], out: Path, index: str | None) -> None:
    from openqwen.core.log import say, warn

    seconds = max(counts["seconds"], 1e-6)
    line = f"{'dedup':<24}{counts['documents']:,} documents → {counts['kept']:,}"
    line += f"   {counts['documents'] / seconds:,.0f}/s, {counts['bytes'] / 1e6 / seconds:.1f} MB/s"
    if counts["dropped"]:
        parts = ", ".join(f"{reason} {count:,}" for reason, count in counts["dropped"].items())
        line += f"   dropped {sum(counts['dropped'].values()):,}: {parts}"
    say(line)
    for reason, facts in counts["set_aside"].items():
        warn(f"set aside {facts['count']:,}: {reason} ({facts['examples'][0]})")
    if index:
        say(f"{'dedup index':<24}{index}: {counts['index']:,} documents added")
    say(f"{'':<24}{out / 'kept'}, {out / 'dropped'}")
