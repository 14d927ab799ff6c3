"""`openqwen instruct`: a model writes samples for its own fine-tuning; rules and people choose."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openqwen.cli.actions import add_action

if TYPE_CHECKING:
    from openqwen.agent.instruct.config import InstructConfig
    from openqwen.agent.instruct.seeds import Seeds
    from openqwen.agent.tools import Tool
    from openqwen.data.contamination.benchmark_index import BenchmarkIndex

NAME = "instruct"
HELP = "self-instruct: let the model write samples, review them, hand them to sft"
MANUAL = """\
Samples that pass the rules are shown on a page where people accept, reject or mend them; only
accepted ones become training data. openqwen serve --pages DIR shows the page so that it saves
by itself."""
DOCS = "docs/instruct.md"
EXAMPLE = """\
openqwen instruct generate runs/tiny/chat --seeds seeds.jsonl --num 100 --out made
openqwen instruct generate MODEL --seeds seeds.jsonl tools.json --kind general tools \\
    --tools calculator --against gsm8k.jsonl --out made
openqwen serve --pages made                      # review in a browser; marks are kept at once
openqwen instruct accept made made
openqwen sft runs/tiny/chat --data made/accepted.jsonl --out chat-2
openqwen instruct generate chat-2 --seeds seeds.jsonl made/accepted.jsonl --out made-2"""
PAGE, ACCEPTED = "review.html", "accepted.jsonl"
LICENCE = "unknown: written by a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three actions' arguments."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, dest="action", help="one of"
    )
    _add_generate(
        add_action(
            actions,
            "generate",
            "let a model write samples; filter them",
            EXAMPLE.splitlines()[0],
            docs=DOCS,
        )
    )
    review = add_action(
        actions,
        "review",
        "write the page where people accept or reject",
        "openqwen instruct review made",
        docs=DOCS,
    )
    review.add_argument("made", metavar="DIR", help="what `generate` wrote")
    accept = add_action(
        actions,
        "accept",
        "write what was accepted, ready for `openqwen sft`",
        "openqwen instruct accept made review-marks.json\nopenqwen instruct accept made made",
        docs=DOCS,
    )
    accept.add_argument("made", metavar="DIR", help="what `generate` wrote")
    accept.add_argument("marks", nargs="*", metavar="MARKS", help="files of marks, or their folder")
    accept.add_argument(
        "--accept-all",
        action="store_true",
        help="take all that passed the rules, unseen; each sample says so",
    )
    accept.add_argument("--out", metavar="FILE", help=f"file to write (DIR/{ACCEPTED})")
    accept.add_argument("--licence", default=LICENCE, help=f"of the samples ({LICENCE})")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a directory, GGUF file, hub id or http(s) endpoint"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        required=True,
        metavar="FILE",
        help="tasks and tool calls that people wrote; accepted samples of earlier rounds, too",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    made = parser.add_argument_group("what is written")
    made.add_argument("--kind", nargs="+", choices=("general", "tools"), help="(general)")
    made.add_argument("--languages", nargs="+", choices=("en", "zh"), help="(en zh)")
    made.add_argument("--num", type=int, metavar="N", help="raw samples a kind and round (100)")
    made.add_argument("--rounds", type=int, metavar="N", help="rounds with this model (1)")
    made.add_argument(
        "--form", choices=("chat", "text"), help="how answers are asked for; text: a base model"
    )
    tools = parser.add_argument_group("tools")
    tools.add_argument(
        "--tools",
        default="",
        metavar="NAMES",
        help="tools that are executed, as calculator,search; others are only described",
    )
    tools.add_argument("--folder", metavar="DIR", help="what file tools may read")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="PATH",
        help="benchmark files that no sample may overlap with (13-grams)",
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of every draw (0)")
    parser.add_argument("--quantize", choices=("int8", "int4"), help="weights of 8 or 4 bits")
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of instruct, as max_rouge=0.6 or temperature=1.0",
    )


def run(args: argparse.Namespace) -> int:
    """Generate, review or accept."""
    return {"generate": _generate, "review": _review, "accept": _accept}[args.action](args)


def _generate(args: argparse.Namespace) -> int:
    from openqwen.agent.instruct.generate import describe, generate
    from openqwen.agent.instruct.job import Job
    from openqwen.agent.instruct.seeds import read_seeds
    from openqwen.agent.open_model import open_model
    from openqwen.core.errors import UserError
    from openqwen.core.files import sha256_file
    from openqwen.core.log import say
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.inputs.raw_rows import find_row_files

    config = _settings(args)
    if (args.tools or args.folder) and "tools" not in config.kinds:
        raise UserError("--tools and --folder go with --kind tools")
    set_aside = SetAside()
    paths = [Path(name) for name in args.seeds]
    seeds = read_seeds(paths, set_aside)
    say(_told(seeds, set_aside.summary()))
    against = [Path(name) for name in args.against]
    index = _benchmarks(against)
    files = {str(f): sha256_file(f) for f in (*find_row_files(paths), *against) if f.is_file()}
    options = {"quantize": args.quantize} if args.quantize else {}
    with _open_tools(args.tools, args.folder) as tools:
        model = open_model(args.model, **options)
        identity = {
            "model": model.name,
            "quantize": args.quantize,
            "files": files,
            "tools": [tool.name for tool in tools],
        }
        job = Job(model, seeds, config, args.seed, tools)
        funnel = generate(job, Path(args.out), benchmarks=index, identity=identity)
    say(describe(funnel))
    return _review(argparse.Namespace(made=args.out))


def _settings(args: argparse.Namespace) -> "InstructConfig":
    """Return the settings of a command line."""
    import json

    from openqwen.agent.instruct.config import InstructConfig
    from openqwen.core.config import parse_config
    from openqwen.core.errors import UserError

    values: dict[str, Any] = {}
    for text in args.assignments:
        key, is_given, value = text.partition("=")
        if not is_given:
            raise UserError(f"--set {text}: write KEY=VALUE")
        try:
            plain = json.loads(value)
        except ValueError:
            plain = value
        *outer, last = key.split(".")
        inner = values
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = plain
    named = {"kinds": args.kind, "languages": args.languages, "num": args.num}
    named |= {"rounds": args.rounds, "form": args.form}
    values |= {name: value for name, value in named.items() if value is not None}
    return parse_config(InstructConfig, values, where="command line")


def _told(seeds: "Seeds", set_aside: str) -> str:
    """Return how many seeds there are, in one line."""
    parts = []
    for language in ("en", "zh"):
        tasks, requests = seeds.of(language)
        parts.append(f"{len(tasks)} {language} tasks, {len(requests)} {language} tool requests")
    own = f"; {len(seeds.own)} of them the model's own" if seeds.own else ""
    return f"seeds: {', '.join(parts)}{own}" + (f"; {set_aside}" if set_aside else "")


def _benchmarks(paths: list[Path]) -> "BenchmarkIndex | None":
    from openqwen.data.contamination.benchmark_files import read_benchmark_files
    from openqwen.data.contamination.benchmark_index import BenchmarkIndex
    from openqwen.data.contamination.config import DecontaminateConfig

    if not paths:
        return None
    return BenchmarkIndex.build(read_benchmark_files(paths), DecontaminateConfig())


def _open_tools(names: str, folder: str | None) -> "contextlib.AbstractContextManager[list[Tool]]":
    """Return the executable tools of a command line, to be opened."""
    from openqwen.agent.toolbox.catalogue import open_tools
    from openqwen.core.errors import UserError

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if "python" in chosen:
        raise UserError(
            "--tools python keeps its state from one conversation to the next, which samples must "
            "not; leave it out"
        )
    return open_tools(chosen, Path(folder) if folder else None)


def _review(args: argparse.Namespace) -> int:
    from openqwen.agent.instruct.generate import FUNNEL, KEPT
    from openqwen.agent.instruct.review import write_review
    from openqwen.agent.instruct.sample import read_verdicts
    from openqwen.core.files import read_json
    from openqwen.core.log import say

    made = Path(args.made)
    samples = [verdict.sample for verdict in read_verdicts(made / KEPT)]
    write_review(made / PAGE, samples, read_json(made / FUNNEL))
    say(f"{len(samples)} samples to review in a browser: {made / PAGE}")
    return 0


def _accept(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from openqwen.agent.instruct.generate import KEPT
    from openqwen.agent.instruct.review import apply_marks
    from openqwen.agent.instruct.sample import read_verdicts, sft_row, write_rows
    from openqwen.core.errors import UserError
    from openqwen.core.log import say
    from openqwen.core.pages import saved_files

    made = Path(args.made)
    if bool(args.marks) == args.accept_all:
        raise UserError("give the marks that the review page saved, or --accept-all")
    samples = [verdict.sample for verdict in read_verdicts(made / KEPT)]
    if args.accept_all:
        review = {"review": "none: --accept-all"}
        accepted = [replace(s, provenance=s.provenance | review) for s in samples]
        account = {"accepted unseen": len(accepted)}
    else:
        accepted, account = apply_marks(samples, saved_files(args.marks, "review-marks*.json"))
    out = Path(args.out) if args.out else made / ACCEPTED
    write_rows(out, [sft_row(sample, args.licence) for sample in accepted])
    told = ", ".join(f"{name} {n}" for name, n in account.items())
    say(f"{len(accepted)} of {len(samples)} samples ({told or 'no mark'}): {out}")
    return 0
