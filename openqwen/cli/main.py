"""The command line: finds the verb, runs it, turns bad input into one line and exit code 2.

A verb is a module with NAME, HELP, EXAMPLE, `add_arguments(parser)` and `run(args) -> exit code`.
"""

import argparse
import errno
import importlib
import os
import sys
import time
from collections.abc import Sequence

import openqwen
from openqwen.cli.actions import add_module
from openqwen.core.errors import UserError
from openqwen.core.runtime import rank

PATIENCE_S = 2.0
# of the system's errors those that a user mends: no room, no right, a file where a folder goes
USERS_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
)
VERBS = (
    "run",
    "status",
    "runs",
    "recipe",
    "sources",
    "data",
    "tokenizer",
    "shards",
    "plan",
    "pretrain",
    "longcontext",
    "sft",
    "merge",
    "reward",
    "ppo",
    "instruct",
    "eval",
    "arena",
    "preferences",
    "report",
    "fetch",
    "convert",
    "generate",
    "chat",
    "agent",
    "sandbox",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code (2 for the user's mistakes, 130 for Ctrl-C)."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.verb.run(args)
        return code
    except UserError as error:
        _tell(str(error))
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "openqwen").startswith("openqwen"):
            raise
        fix = "pip install 'openqwen[all]'"
        print(f"openqwen: this needs the package {error.name}: {fix}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("openqwen: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, a pager say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in USERS_ERRORS:
            raise
        print(f"openqwen: {error.strerror}: {error.filename or 'a write'}", file=sys.stderr)
        return 2


def _tell(problem: str) -> None:
    """Print one line to standard error; of several processes the first one's comes first.

    Where all find the same, the launcher ends the others before they repeat it.
    """
    if rank():
        time.sleep(PATIENCE_S)
        problem = f"rank {rank()}: {problem}"
    print(f"openqwen: {problem}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="openqwen",
        description="From raw web pages to an aligned chat model, after the Qwen Technical Report.",
        epilog="openqwen VERB --help tells more of each. Start with: openqwen run tiny",
    )
    parser.add_argument("--version", action="version", version=f"openqwen {openqwen.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in VERBS:
        add_module(verbs, importlib.import_module(f"openqwen.cli.{name}"))
    return parser
