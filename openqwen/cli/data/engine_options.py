"""The options of every action that runs tasks: which engine, how many workers."""

import argparse


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
