"""`openqwen completion SHELL`: a script for the shell, made from the parsers themselves.

Static: made once, so that completing a word starts no Python. (argcomplete would run the program
for every Tab, a third of a second each.)
"""

import argparse
from collections.abc import Iterator

NAME = "completion"
HELP = "print a script that completes verbs, options and files in your shell"
MANUAL = """\
The script is static: completing a word starts no Python. Make it anew after an update.
bash reads it from ~/.local/share/bash-completion/completions/openqwen, fish from
~/.config/fish/completions/openqwen.fish, zsh from a file named _openqwen in a folder of $fpath."""
EXAMPLE = """\
openqwen completion bash > ~/.local/share/bash-completion/completions/openqwen
openqwen completion zsh > ~/.zfunc/_openqwen"""
DOCS = "docs/install.md"
SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's argument."""
    parser.add_argument("shell", choices=SHELLS, help="which shell's script")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from openqwen.cli.main import build_parser

    parser = build_parser()
    for action in _arguments(parser):
        takes_word = action.nargs != 0 and action.choices is None
        if takes_word and action.type is None:
            is_folder = action.metavar == "DIR"
            action.complete = shtab.DIRECTORY if is_folder else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of all parsers below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _arguments(inner)
