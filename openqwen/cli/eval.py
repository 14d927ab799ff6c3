"""`openqwen eval`: measure a model on the field's benchmarks and our own, or compare two runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from openqwen.cli.model_options import add_loading_arguments

NAME = "eval"
HELP = "measure a model on suites and tasks, or compare two measured models"
MANUAL = """\
Benchmarks are the field's harness's own definitions on our engine. A stopped measurement goes
on: every reply is kept as it comes. compare says which differences are more than chance."""
DOCS = "docs/evaluation.md"
EXAMPLE = """\
openqwen eval list
openqwen eval runs/tiny/base --tasks hellaswag piqa --data benchmarks --limit 200 --out eval/base
openqwen eval my-chat --suite chat --data benchmarks --out eval/chat
openqwen eval http://localhost:8000/v1#my-model --tasks gsm8k --chat --data benchmarks --out eval/x
openqwen eval compare eval/base eval/chat
openqwen eval my-reward --suite reward --data helpful.jsonl harmless.jsonl"""

MAX_TOKENS = 2048  # of a conversation that a reward model judges
CHAT_SUITES = ("chat", "tools")  # their tasks are conversations
SUITES = ("base", "chat", "code", "math", "tools", "report", "reward")
OF_REWARD = ("models", "suite", "data", "max_tokens", "out")  # what the reward suite reads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a model directory, GGUF file, hub id or endpoint (http://…#model); or `list` for the "
        "tasks there are, or `compare DIR DIR` for two runs of this verb",
    )
    measured = parser.add_argument_group("what is measured")
    measured.add_argument("--suite", choices=SUITES, help="the tasks of a table of the report")
    measured.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="tasks by name")
    measured.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="PATH",
        help="folder with benchmarks in their original forms (docs/evaluation.md); for the reward "
        "suite files of preference pairs",
    )
    measured.add_argument("--limit", type=int, metavar="N", help="items a task, drawn by the seed")
    measured.add_argument("--seed", type=int, default=0, metavar="N", help="of every draw (0)")
    measured.add_argument("--shots", type=int, metavar="N", help="examples before a question")
    measured.add_argument(
        "--chat",
        action="store_true",
        help="conversations, not plain texts (on for the suites chat and tools)",
    )
    measured.add_argument(
        "--trained-on",
        nargs="+",
        default=[],
        metavar="PATH",
        help="the model's training texts: items found in them are marked, and the score on the "
        "others printed",
    )
    measured.add_argument(
        "--max-tokens",
        type=int,
        default=MAX_TOKENS,
        metavar="N",
        help=f"reward suite: of a conversation ({MAX_TOKENS})",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="directory for results.json and every item; a rerun goes on"
    )
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the first word and the suite ask for."""
    from openqwen.core.errors import UserError

    if args.models[0] == "list":
        _refuse_others(args, "eval list", ("models",))
        if len(args.models) > 1:
            raise UserError(f"list takes nothing else, got {' '.join(args.models[1:])}")
        return _list()
    if args.models[0] == "compare":
        _refuse_others(args, "eval compare", ("models",))
        if len(args.models) != 3:
            raise UserError("compare takes two directories: openqwen eval compare DIR DIR")
        return _compare(Path(args.models[1]), Path(args.models[2]))
    if args.suite == "reward":
        from openqwen.cli.eval_reward import run_reward

        _refuse_others(args, "the reward suite", OF_REWARD)
        return run_reward(args)
    return _measure(args)


def _refuse_others(args: argparse.Namespace, what: str, read: Sequence[str]) -> None:
    """Refuse options that would be ignored.

    Raises:
        UserError: naming the first one given that is not among those read.
    """
    from openqwen.core.errors import UserError

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name in vars(parser.parse_args(["MODEL"])):
        if name not in read and getattr(args, name) != parser.get_default(name):
            raise UserError(f"--{name.replace('_', '-')} says nothing to {what}; leave it out")


def _check(args: argparse.Namespace) -> None:
    """Refuse what a measurement can't do, before a model is loaded.

    Raises:
        UserError: one line.
    """
    from openqwen.core.errors import UserError

    if len(args.models) != 1:
        raise UserError(f"one model at a time, got {len(args.models)}: {' '.join(args.models)}")
    if not args.tasks and not args.suite:
        raise UserError("name --tasks or a --suite; `openqwen eval list` shows them")
    if not args.out:
        raise UserError("--out DIR is missing: where results.json and every item go")
    if args.max_tokens != MAX_TOKENS:
        raise UserError("--max-tokens goes with the reward suite; leave it out")
    for name, least in (("limit", 1), ("shots", 0), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}")
    for path in args.trained_on:
        if not Path(path).exists():
            raise UserError(f"--trained-on {path} does not exist")


def _measure(args: argparse.Namespace) -> int:
    from openqwen.agent.models import LocalModel
    from openqwen.agent.open_model import open_model
    from openqwen.cli.model_options import loading_options
    from openqwen.core.errors import UserError
    from openqwen.core.log import say, warn
    from openqwen.eval.result_table import result_lines
    from openqwen.eval.results import read_result
    from openqwen.eval.run import Plan, describe, evaluate
    from openqwen.eval.tasks.catalogue import resolve
    from openqwen.infer.hub import find_model

    tasks = resolve(args.tasks, [args.suite] if args.suite else [])
    _check(args)
    if args.shots is not None and all(task.kind == "measure" for task in tasks):
        raise UserError(f"--shots says nothing to {', '.join(task.name for task in tasks)}")
    name = args.models[0]
    data = _data_folder(args.data)
    model = open_model(name, **loading_options(args))
    warn(f"{name}: {describe(model)}")
    is_local = isinstance(model, LocalModel)
    plan = Plan(
        model=model,
        tasks=tasks,
        out=Path(args.out),
        data=data,
        limit=args.limit,
        seed=args.seed,
        is_chat=args.chat or args.suite in CHAT_SUITES,
        shots=args.shots,
        must=bool(args.tasks),
        trained_on=[Path(path) for path in args.trained_on],
        identity=_identity(find_model(name)) if is_local else name,
    )
    found = evaluate(plan)
    results = [read_result(plan.out, task) for task in found["tasks"]]
    for line in result_lines(results):
        say(line)
    say(f"{plan.out / 'results.json'}")
    return 0


def _data_folder(paths: list[str]) -> Path | None:
    """Return the folder with benchmarks: the one named, or that of OPENQWEN_DATA.

    Raises:
        UserError: if there is no such folder.
    """
    from openqwen.core.errors import UserError
    from openqwen.core.runtime import development_data

    if not paths:
        return development_data()
    folder = Path(paths[0])
    if len(paths) > 1 or not folder.is_dir():
        raise UserError(f"--data {' '.join(paths)}: name one folder with benchmark files")
    return folder


def _identity(path: Path) -> str:
    """Return a number that changes with a model's files."""
    from openqwen.eval.kept import stamp
    from openqwen.eval.responses import Responses

    return Responses.key(stamp(path))


def _list() -> int:
    from openqwen.core.log import say
    from openqwen.eval.tasks.catalogue import TASKS

    for name, info in TASKS.items():
        shots = f"{info.shots} shots" if info.kind == "harness" else "ours"
        say(f"{name:<22} {', '.join(info.suites):<28} {shots:<9} {info.about}")
    return 0


def _compare(first: Path, second: Path) -> int:
    from openqwen.core.log import say
    from openqwen.eval.compare import compare_runs

    rows: list[list[str]] = [
        [
            *("task", "metric", "n", str(first), str(second)),
            *("difference (95 % interval, paired)", "better / worse", "finding"),
        ]
    ]
    rows += [found.row() for found in compare_runs(first, second)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    for line in lines:
        say(line)
    return 0
