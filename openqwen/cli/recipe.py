"""`openqwen recipe show NAME`: a whole recipe as TOML, each value with its source."""

import argparse

from openqwen.cli.actions import add_action
from openqwen.cli.recipe_arguments import add_settings

NAME = "recipe"
HELP = "show recipes: every setting with its meaning and its source"
MANUAL = """\
What `show` prints is a whole recipe again: change a line and give the file to openqwen run. A
setting that a recipe does not know is refused, with the nearest one that it does know."""
DOCS = "docs/architecture.md"
EXAMPLE = """
openqwen recipe list
openqwen recipe show tiny > my.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, dest="action", help="one of"
    )
    show = add_action(
        actions,
        "show",
        "print a resolved recipe as TOML",
        "openqwen recipe show tiny --set base.num_steps=200 > my.toml",
        docs=DOCS,
    )
    show.add_argument("name", help="a built-in recipe (tiny, mini) or a TOML file")
    add_settings(show)
    add_action(actions, "list", "name the built-in recipes", "openqwen recipe list", docs=DOCS)


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
