"""The arguments of every verb that takes settings, and running one stage by itself."""

import argparse
import json
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.manifest import MANIFEST_NAME, Manifest


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add `--set`, which may be given often."""
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, as base.num_steps=200 (openqwen recipe show lists them)",
    )


def add_recipe_option(parser: argparse.ArgumentParser, default: str = "tiny") -> None:
    """Add `--recipe` for verbs that run one stage with a recipe's settings."""
    parser.add_argument(
        "--recipe", default=default, help=f"name or TOML file the settings come from ({default})"
    )
    add_settings(parser)


def run_stage(name: str, args: argparse.Namespace, inputs: dict[str, Path], out: Path) -> None:
    """Run one stage of `args.recipe` on directories given by hand."""
    from openqwen.lineage.registry import STAGES
    from openqwen.lineage.stage import StageWork, execute
    from openqwen.recipes.resolve import resolve

    stage = STAGES[name]
    recipe = resolve(args.recipe, args.assignments).recipe
    execute(stage, StageWork.of(stage, recipe, inputs=inputs, out=out))


def stage_directory(path: str, name: str) -> Path:
    """Return the directory of a finished stage: `path` itself, or its folder of that name.

    Raises:
        UserError: if neither holds a manifest.
    """
    for directory in (Path(path), Path(path) / name):
        manifest = Manifest.read(directory)
        if manifest is not None and manifest.stage == name:
            return directory
    raise UserError(f"{path} holds no finished {name} stage (no {MANIFEST_NAME} of one)")


def add_tuning_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every verb that trains from a model directory takes."""
    parser.add_argument("model", metavar="MODEL", help="a model directory to start from")
    parser.add_argument("--out", help="directory to write, a model directory afterwards")
    parser.add_argument(
        "--recipe",
        default="finetune",
        help="name or TOML file the settings come from (finetune: the report's, by epochs)",
    )
    add_settings(parser)


def output_directory(args: argparse.Namespace) -> Path:
    """Return the directory to write.

    Raises:
        UserError: if `--out` was not given.
    """
    if not args.out:
        raise UserError("--out is missing: name a directory to write the model to")
    return Path(args.out)


def model_directory(path: str) -> Path:
    """Return a directory that holds a model, or holds one that a stage has finished.

    Raises:
        UserError: if it holds none.
    """
    directory = Path(path)
    if not (directory / "config.json").is_file():
        raise UserError(f"{path} is no model directory: it has no config.json")
    return directory


def set_data(args: argparse.Namespace, section: str, files: list[str]) -> None:
    """Set a section's `paths` to absolute names, in front of what the user sets.

    Raises:
        UserError: if a file does not exist.
    """
    for name in files:
        if not Path(name).expanduser().exists():
            raise UserError(f"{name} does not exist")
    absolute = [str(Path(name).expanduser().resolve()) for name in files]
    args.assignments.insert(0, f"{section}.paths={json.dumps(absolute)}")
