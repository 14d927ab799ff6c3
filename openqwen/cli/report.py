"""`openqwen report DIR`: write a run's report page anew."""

import argparse
from pathlib import Path

NAME = "report"
HELP = "write the report of a run's finished stages: one HTML page and a Markdown twin"
MANUAL = """\
Numbers stand beside those that the report gives, with the command that made them."""
DOCS = "docs/architecture.md"
EXAMPLE = "openqwen report runs/tiny"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("directory", help="run directory")
    parser.add_argument(
        "--out", help="directory to write (DIRECTORY/report; of an unfinished run report-so-far)"
    )


def run(args: argparse.Namespace) -> int:
    """Write both pages and say where they are."""
    from openqwen.core.log import say
    from openqwen.lineage.run import remake_report
    from openqwen.report.page import write_report

    directory = Path(args.directory)
    out = Path(args.out) if args.out else directory / "report"
    if args.out or not remake_report(directory):
        out = Path(args.out) if args.out else directory / "report-so-far"
        write_report(directory, out)
    say(f"report        {out / 'report.html'}")
    return 0
