"""Verbs and their actions as parsers, with help a manual page would give.

A verb, or an action of one, is a module: NAME, HELP (a line), EXAMPLE, `add_arguments(parser)` and
`run(args) -> exit code`; it may have MANUAL (a paragraph more), DOCS (the page that tells all) and
EXIT_CODES (code -> meaning, beyond the common ones).
"""

import argparse
import importlib
import textwrap
from collections.abc import Mapping, Sequence
from types import ModuleType

WIDTH = 88
EXIT_CODES = {0: "done", 2: "your input needs a change, said in one line", 130: "stopped by Ctrl-C"}


def add_actions(parser: argparse.ArgumentParser, package: str, names: Sequence[str]) -> None:
    """Add the actions of a verb; each is `package.name`."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, dest="action", help="one of"
    )
    for name in names:
        add_module(actions, importlib.import_module(f"{package}.{name}"))


def add_module(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]", module: ModuleType
) -> None:
    """Add one verb or action, its arguments and its manual to a group of them."""
    parser = add_action(
        group,
        module.NAME,
        module.HELP,
        module.EXAMPLE,
        manual=getattr(module, "MANUAL", ""),
        docs=getattr(module, "DOCS", ""),
        exit_codes=getattr(module, "EXIT_CODES", {}),
    )
    if hasattr(module, "run"):
        parser.set_defaults(verb=module)
    module.add_arguments(parser)


def add_action(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    help: str,
    example: str,
    *,
    manual: str = "",
    docs: str = "",
    exit_codes: Mapping[int, str] | None = None,
) -> argparse.ArgumentParser:
    """Add a parser with a description, an example and exit codes; return it.

    Args:
        group: where to add it.
        name: what is typed.
        help: one line, as the list of verbs shows it.
        example: command lines that work.
        manual: a paragraph or more about it.
        docs: the page that tells all.
        exit_codes: code -> meaning, beyond the common ones.
    """
    codes = dict(sorted({**EXIT_CODES, **(exit_codes or {})}.items()))
    told = "\n".join(f"  {code:<4} {meaning}" for code, meaning in codes.items())
    epilog = "example:\n" + textwrap.indent(textwrap.dedent(example).strip(), "  ")
    epilog += f"\n\nexit codes:\n{told}"
    epilog += f"\n\nsee {docs}" if docs else ""
    return group.add_parser(
        name,
        help=help,
        description=_paragraphs(help[0].upper() + help[1:] + ".", manual),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _paragraphs(*texts: str) -> str:
    """Return texts as paragraphs of even lines; a blank line in a text opens one more."""
    parts = [part for text in texts for part in textwrap.dedent(text).strip().split("\n\n")]
    return "\n\n".join(textwrap.fill(" ".join(part.split()), WIDTH) for part in parts if part)
