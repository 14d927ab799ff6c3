"""What every action that runs tasks has: its engine's options, and a directory it may write."""

import argparse
from pathlib import Path


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and `--workers`."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        help="processes of this machine, or a Ray cluster (local); the bytes are the same",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="tasks at the same time (one a processor)"
    )


def add_engine_settings(args: argparse.Namespace, section: str = "documents") -> None:
    """Turn the options into settings of a recipe's section, in front of what the user sets."""
    if args.workers is not None:
        args.assignments.insert(0, f"{section}.engine.num_workers={args.workers}")
    if args.engine:
        args.assignments.insert(0, f'{section}.engine.name="{args.engine}"')


def free_directory(out: Path, stage: str) -> Path:
    """Return the output directory if nothing of somebody else's would be lost in it.

    Raises:
        UserError: if it is a file, or holds other files than an earlier run of this action.
    """
    from openqwen.core.errors import UserError
    from openqwen.core.files import read_json
    from openqwen.core.manifest import MANIFEST_NAME, SCRATCH_NAME

    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a directory")
    if not out.exists() or not any(out.iterdir()) or (out / SCRATCH_NAME).is_dir():
        return out
    manifest = out / MANIFEST_NAME
    if not manifest.is_file() or read_json(manifest).get("stage") != stage:
        raise UserError(f"--out {out} holds other files; name an empty or new directory")
    return out
