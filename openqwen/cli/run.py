"""`openqwen run RECIPE`: the lineage, from sources to report."""

import argparse
from pathlib import Path

from openqwen.cli.recipe_arguments import add_settings

NAME = "run"
HELP = "run a recipe's stages; finished ones are skipped, a killed one is taken up again"
MANUAL = """\
A recipe is one complete set of settings, built in (openqwen recipe list) or a TOML file. Each
stage writes one directory and ends it with a manifest; whatever is finished with the same
settings, seed and inputs is skipped, so the same command goes on after a stop."""
DOCS = "docs/architecture.md"
EXAMPLE = """
openqwen run tiny
openqwen run my.toml --out runs/mine --until base --set base.num_steps=200
openqwen run tiny --set 'sources.paths=["my/pages"]'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("recipe", help="a built-in recipe (tiny, mini) or a TOML file")
    parser.add_argument("--out", help="run directory (runs/NAME)")
    parser.add_argument("--until", default="", metavar="STAGE", help="stop after this stage")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Run the stages and say where the results are."""
    from openqwen.lineage.run import run_recipe, say_results
    from openqwen.recipes.resolve import resolve

    resolved = resolve(args.recipe, args.assignments)
    out = Path(args.out or f"runs/{resolved.recipe.name}")
    run_recipe(resolved, out, until=args.until)
    say_results(out)
    return 0
