"""`openqwen data build`: from raw pages to a clean, weighted corpus."""

import argparse
from pathlib import Path

from openqwen.cli.data.engine_options import add_engine_options, add_engine_settings
from openqwen.cli.recipe_arguments import add_recipe_option, run_stage
from openqwen.cli.sources import add_paths, add_paths_option

NAME = "build"
HELP = "run the sources and documents stages into OUT/sources and OUT/documents"
MANUAL = """\
Extracts texts from pages, tells their language, drops duplicates, applies rules and scores,
removes overlap with benchmarks, masks personal data and mixes. Each drop has a reason and is
counted; the audit page shows samples of each."""
DOCS = "docs/data.md"
EXAMPLE = "openqwen data build --in my/pages --out corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_paths_option(parser)
    parser.add_argument("--out", required=True, help="directory to write")
    add_engine_options(parser)
    add_recipe_option(parser, default="corpus")


def run(args: argparse.Namespace) -> int:
    """Run both stages."""
    add_paths(args)
    add_engine_settings(args)
    out = Path(args.out)
    run_stage("sources", args, {}, out / "sources")
    run_stage("documents", args, {"sources": out / "sources"}, out / "documents")
    return 0
