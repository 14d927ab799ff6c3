"""`openqwen recipe show NAME`: a whole recipe as TOML, each value with its source."""

import argparse

from openqwen.cli.recipe_arguments import add_settings

NAME = "recipe"
HELP = "show recipes: every setting with its meaning and its source"
EXAMPLE = """
openqwen recipe list
openqwen recipe show tiny > my.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    show = actions.add_parser("show", help="print a resolved recipe as TOML")
    show.add_argument("name", help="a built-in recipe (tiny, mini) or a TOML file")
    add_settings(show)
    actions.add_parser("list", help="name the built-in recipes")


def run(args: argparse.Namespace) -> int:
    """Print the recipe, or the list of recipes."""
    from openqwen.core.log import say
    from openqwen.recipes import BUILTIN
    from openqwen.recipes.resolve import resolve
    from openqwen.recipes.show import to_toml

    if args.action == "list":
        for name, function in BUILTIN.items():
            say(f"{name:<8}{(function.__doc__ or '').splitlines()[0]}")
        return 0
    print(to_toml(resolve(args.name, args.assignments)), end="")
    return 0
