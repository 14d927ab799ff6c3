"""`openqwen runs [DIR …]` and `openqwen runs compare A B …`: trainings listed and compared."""

import argparse
from pathlib import Path

NAME = "runs"
HELP = "list trainings under directories, or compare some: a table and overlaid curves"
MANUAL = """\
Reads the metrics that every training keeps in its directory. With compare it aligns the curves
of several trainings and tells where their settings differ."""
DOCS = "docs/tracking.md"
EXAMPLE = """
openqwen runs runs
openqwen runs compare runs/a/base runs/b/base --metric bits_per_byte --x tokens --png curves.png
"""
DEFAULT = "runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="DIR",
        help=f"directories to look below ({DEFAULT}); after the word compare: trainings",
    )
    compare = parser.add_argument_group("with compare")
    compare.add_argument("--metric", help="a number of the rows (loss), or validation/GROUP/NAME")
    compare.add_argument("--x", choices=("step", "tokens", "seconds"), help="axis (step)")
    compare.add_argument("--stage", help="which training of a run directory with several")
    compare.add_argument("--smooth", type=int, metavar="ROWS", help="rows of the moving mean")
    compare.add_argument("--log-x", action="store_true", help="logarithmic axis in the PNG")
    compare.add_argument("--png", metavar="FILE", help="draw the curves into this file")


def run(args: argparse.Namespace) -> int:
    """Print the list, or the comparison."""
    from openqwen.core.errors import UserError
    from openqwen.core.log import say
    from openqwen.report.runs_text import list_text, write_comparison

    if args.paths[:1] == ["compare"]:
        lines = write_comparison(
            [Path(path) for path in args.paths[1:]],
            metric=args.metric or "loss",
            x=args.x or "step",
            stage=args.stage or "",
            smooth=args.smooth,
            png=Path(args.png) if args.png else None,
            log_x=args.log_x,
        )
    else:
        given = {
            "--metric": args.metric,
            "--x": args.x,
            "--stage": args.stage,
            "--smooth": args.smooth,
            "--log-x": args.log_x,
            "--png": args.png,
        }
        extra = [name for name, value in given.items() if value]
        if extra:
            raise UserError(f"{extra[0]} belongs to comparing: openqwen runs compare A B …")
        lines = list_text([Path(path) for path in args.paths or [DEFAULT]])
    for line in lines:
        say(line)
    return 0
