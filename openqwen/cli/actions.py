"""Verbs with actions: `openqwen data build` and the like, each action a module as a verb is.

An action: NAME, HELP, EXAMPLE, `add_arguments(parser)` and `run(args) -> exit code`, as a verb has.
"""

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType


def add_actions(parser: argparse.ArgumentParser, package: str, names: Sequence[str]) -> None:
    """Add the actions of a verb; each is `package.name`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name in names:
        add_module(actions, importlib.import_module(f"{package}.{name}"))


def add_module(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]", module: ModuleType
) -> None:
    """Add one verb or action, its arguments and its example to a group of them."""
    parser = group.add_parser(
        module.NAME,
        help=module.HELP,
        description=module.HELP[0].upper() + module.HELP[1:] + ".",
        epilog="example:\n  " + module.EXAMPLE.strip().replace("\n", "\n  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if hasattr(module, "run"):
        parser.set_defaults(verb=module)
    module.add_arguments(parser)
