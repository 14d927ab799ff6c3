"""`openqwen sandbox check`: bubblewrap, call filter and each level, tried out on this machine."""

import argparse

NAME = "check"
HELP = "try out which levels of isolation this machine gives"
MANUAL = """\
Each part is tried out, not guessed."""
DOCS = "docs/sandbox.md"
EXIT_CODES = {0: "the full level can be had", 1: "it can't"}
EXAMPLE = "openqwen sandbox check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments: there are none."""


def run(args: argparse.Namespace) -> int:
    """Print a line per part and level; 0 if the full level can be had, else 1."""
    from openqwen.agent.sandbox.check import describe
    from openqwen.core.log import say

    rows = describe()
    for name, answer in rows:
        say(f"{name:<18}{answer}")
    return 0 if dict(rows)["level full"] == "yes" else 1
