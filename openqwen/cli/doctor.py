"""`openqwen doctor`: what this machine and this installation can do."""

import argparse

NAME = "doctor"
HELP = "say what this machine and this installation can do, and how to mend what is missing"
EXAMPLE = "openqwen doctor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    return 0
