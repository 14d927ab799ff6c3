"""`openqwen data build`: from raw pages to a clean, weighted corpus."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_recipe_option, run_stage
from openqwen.cli.sources import add_paths, add_paths_option

NAME = "data"
HELP = "build a corpus: extraction, language, deduplication, filters, decontamination, mixture"
EXAMPLE = "openqwen data build --in my/pages --out corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    build = actions.add_parser(
        "build", help="run the sources and documents stages into OUT/sources and OUT/documents"
    )
    add_paths_option(build)
    build.add_argument("--out", required=True, help="directory to write")
    add_recipe_option(build)


def run(args: argparse.Namespace) -> int:
    """Run both stages."""
    add_paths(args)
    out = Path(args.out)
    run_stage("sources", args, {}, out / "sources")
    run_stage("documents", args, {"sources": out / "sources"}, out / "documents")
    return 0
