"""`openqwen sandbox ACTION`: an untrusted program run in isolation; what this machine can do."""

import argparse

from openqwen.cli.actions import add_actions

NAME = "sandbox"
HELP = "run an untrusted program in isolation, or check what this machine can isolate"
MANUAL = """\
Programs are isolated by bubblewrap, a call filter and limits; `check` says which levels this
machine gives."""
DOCS = "docs/sandbox.md"
EXAMPLE = """
openqwen sandbox run answer.py --timeout 5 --memory-mb 256
openqwen sandbox check
"""
ACTIONS = ("run", "check")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    add_actions(parser, __name__, ACTIONS)
