"""`openqwen data ablate`: train the same tiny model with and without a step, and compare."""

import argparse
import json
from pathlib import Path
from typing import Any

from openqwen.cli.data.engine_options import add_engine_options, add_engine_settings
from openqwen.cli.recipe_arguments import add_recipe_option, run_stage
from openqwen.cli.sources import add_paths, add_paths_option

NAME = "ablate"
HELP = "train the same tiny model on the corpus with and without a step and compare bits a byte"
MANUAL = """\
Builds the corpus with and without a step, trains the same small model on each and compares:
what is the step worth?"""
DOCS = "docs/data.md"
EXAMPLE = """\
openqwen data ablate --without rules --out ablation
openqwen data ablate --in my/pages --without minhash rules --seeds 3 --out ablation"""
ALL = "all steps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_paths_option(parser)
    parser.add_argument(
        "--without",
        nargs="+",
        required=True,
        metavar="STEP",
        help="steps to leave out, each by itself: rules, minhash, exact, decontaminate …",
    )
    parser.add_argument("--seeds", type=int, default=2, help="models trained of each variant (2)")
    parser.add_argument("--out", required=True, help="directory to write")
    add_engine_options(parser)
    add_recipe_option(parser)


def run(args: argparse.Namespace) -> int:
    """Build each variant's corpus, train on it, print the comparison."""
    from openqwen.core.errors import UserError
    from openqwen.recipes.resolve import resolve
    from openqwen.studies.ablation import ablate

    if args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: at least one model of each variant is trained")
    add_paths(args)
    add_engine_settings(args)
    out, given = Path(args.out), list(args.assignments)
    recipe = resolve(args.recipe, given).recipe
    settings = {ALL: given}
    for step in args.without:
        skipped = json.dumps([*recipe.documents.skip, step])
        settings[f"without {step}"] = [*given, f"documents.skip={skipped}"]
    for assignments in settings.values():
        resolve(args.recipe, assignments)  # a step that can't be left out is told before hours
    run_stage("sources", args, {}, out / "sources")
    variants: dict[str, Path] = {}
    for name, args.assignments in settings.items():
        variants[name] = out / name.replace(" ", "-") / "documents"
        run_stage("documents", args, {"sources": out / "sources"}, variants[name])
    report = ablate(variants, recipe, out / "models", seeds=args.seeds)
    _print(report, [name for name in variants if name != ALL])
    print(f"ablate        {out / 'models' / 'ablation.json'}")
    return 0


def _print(report: dict[str, Any], others: list[str]) -> None:
    """Print the table: a line a language and a source, a column a variant."""
    print(f"held-out bits per byte after {report['num_steps']:,} steps, seeds {report['seeds']}")
    for name, facts in report["variants"].items():
        print(
            f"  {name}: {facts['documents']:,} documents, {facts['tokens']:,} tokens to learn from"
        )
    for kind in ("groups", "sources"):
        for name, row in report[kind].items():
            if kind == "sources" and name == "all":
                continue
            line = f"{name:<28}n {row['documents']:>5}   {row[ALL]['bits_per_byte']:.4f}"
            for other in others:
                of = row[other]
                low, high = of["interval"]
                verdict = "" if of["measurable"] else "   no measurable difference"
                line += f"   {other} {of['bits_per_byte']:.4f}"
                line += f" ({of['difference']:+.4f}, {low:+.4f} to {high:+.4f}){verdict}"
            print(line)
