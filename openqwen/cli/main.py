"""The command line: finds the verb, runs it, turns bad input into one line and exit code 2.

    main(["recipe", "show", "tiny"])

A verb is a module as `openqwen/cli/actions.py` describes; only the one asked for is imported.
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
from openqwen.core.packages import fix_for
from openqwen.core.runtime import rank

PATIENCE_S = 2.0
# of the system's errors those that a user mends: no room, no right, a file where a folder goes
USERS_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
)
# the line each module has as HELP, so that the list is shown without importing any; a test compares
VERBS = {
    "run": "run a recipe's stages; finished ones are skipped, a killed one is taken up again",
    "status": "show a run's stages: state, time, memory, size",
    "runs": "list trainings under directories, or compare some: a table and overlaid curves",
    "recipe": "show recipes: every setting with its meaning and its source",
    "sources": "gather raw pages, code, instructions and benchmark texts into one directory",
    "data": "build a corpus: extraction, language, deduplication, filters, mixture",
    "tokenizer": "train, extend and compare tokenizers",
    "shards": "encode a corpus into shuffled token shards with a validation split",
    "plan": "plan a training run: memory, communication, MFU, days, the layout to take",
    "pretrain": "pretrain a model on token shards; a killed run is taken up again",
    "longcontext": "measure perplexity by length and passkey retrieval, a method beside another",
    "sft": "fine-tune a model on conversations (OpenAI, ShareGPT or Alpaca form; JSONL or Parquet)",
    "merge": "fold a LoRA adapter (ours or PEFT's) into its base model",
    "reward": "train a reward model on preference pairs, from a language or a preference model",
    "ppo": "improve a chat model against a reward model by PPO; a killed run is taken up again",
    "instruct": "self-instruct: let the model write samples, review them, hand them to sft",
    "eval": "measure a model on suites and tasks, or compare two measured models",
    "arena": "let people or models rank several models' answers, blind, and rate the models",
    "preferences": "collect judged pairs of answers: people or a model judge",
    "report": "write the report of a run's finished stages: one HTML page and a Markdown twin",
    "fetch": "fetch a model or vocabulary by name; without a name, list them",
    "convert": "write a model in another layout: Qwen-1, Qwen2, an export directory or GGUF",
    "generate": "continue a text with a model",
    "chat": "talk with a model in the terminal",
    "agent": "let a model work with tools: calculator, files, search, plots, Python",
    "serve": "serve a model: OpenAI's API, a chat page in the browser",
    "sandbox": "run an untrusted program in isolation, or check what this machine can isolate",
    "doctor": "say what this machine and this installation can do, and how to mend what is missing",
    "completion": "print a script that completes verbs, options and files in your shell",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code (2 for the user's mistakes, 130 for Ctrl-C)."""
    words = sys.argv[1:] if argv is None else list(argv)
    verb = next((word for word in words if not word.startswith("-")), "")
    try:
        args = build_parser(verb).parse_args(words)
        code: int = args.verb.run(args)
        return code
    except UserError as error:
        _tell(str(error))
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "openqwen").startswith("openqwen"):
            raise
        name = (error.name or "").partition(".")[0]
        print(f"openqwen: this needs the package {name}: {fix_for(name)}", file=sys.stderr)
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


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all verbs.

    Args:
        only: the verb that will be parsed; the others are named and not imported. None imports all.
    """
    parser = argparse.ArgumentParser(
        prog="openqwen",
        description="From raw web pages to an aligned chat model, after the Qwen Technical Report.",
        epilog="openqwen VERB --help tells more of each. Start with: openqwen doctor",
    )
    parser.add_argument("--version", action="version", version=f"openqwen {openqwen.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, line in VERBS.items():
        if only is None or name == only:
            add_module(verbs, importlib.import_module(f"openqwen.cli.{name}"))
        else:
            verbs.add_parser(name, help=line)
    return parser
