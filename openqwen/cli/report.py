"""`openqwen report DIR`: write a run's report page anew."""

import argparse
from pathlib import Path

NAME = "report"
HELP = "write the report of a run's finished stages: one HTML page and a Markdown twin"
EXAMPLE = "openqwen report runs/tiny"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("directory", help="run directory")
    parser.add_argument("--out", help="directory to write (DIRECTORY/report)")


def run(args: argparse.Namespace) -> int:
    """Write both pages and say where they are."""
    from openqwen.core.log import say
    from openqwen.report.page import write_report

    run_directory = Path(args.directory)
    out = Path(args.out) if args.out else run_directory / "report"
    write_report(run_directory, out)
    say(f"report        {out / 'report.html'}")
    return 0
