"""`openqwen data decontaminate`: take what overlaps with benchmarks out of documents."""

import argparse
import json
from pathlib import Path
from typing import Any

from openqwen.cli.data.engine_options import add_engine_options, free_directory

NAME = "decontaminate"
HELP = "find 13-grams shared with benchmark files; drop, cut or only report the documents"
MANUAL = """\
Finds texts that share 13-grams with benchmark files and reports, drops or cuts them."""
DOCS = "docs/decontamination.md"
EXAMPLE = """\
openqwen data decontaminate --in docs.jsonl.gz --against mmlu.jsonl ceval/ --out clean
openqwen data decontaminate --in my-chats.json --against gsm8k.jsonl --out clean --action report
openqwen sft runs/tiny/base --data clean/kept --out my-chat"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--in",
        dest="inputs",
        nargs="+",
        required=True,
        metavar="PATH",
        help="rows of id and text, or conversations (JSONL, JSON, Parquet; .gz), folders of them, "
        "or a finished documents stage",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        required=True,
        metavar="PATH",
        help="benchmark files of any form (JSONL, JSON, CSV, TSV, Parquet; .gz), or folders",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    parser.add_argument("--action", choices=("drop", "cut", "report"), help="(drop)")
    parser.add_argument(
        "--ngram", type=int, metavar="N", help="units of an overlap: words, or characters (13)"
    )
    parser.add_argument(
        "--fields",
        nargs="+",
        default=[],
        metavar="FIELD",
        help="fields of a benchmark's row to look for; known forms and all strings without it",
    )
    add_engine_options(parser)
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of decontamination, as min_units=10 or max_documents=10",
    )


def run(args: argparse.Namespace) -> int:
    """Check the files and print what was found."""
    from openqwen.data.contamination.files import Inputs, decontaminate_files
    from openqwen.data.engines.engine import open_engine
    from openqwen.data.inputs.document_rows import find_document_files

    config, engine_config = _settings(args)
    out = free_directory(Path(args.out), NAME)
    inputs = Inputs(
        find_document_files([Path(path).absolute() for path in args.inputs]),
        [Path(path).absolute() for path in args.against],
        args.fields,
    )
    with open_engine(engine_config) as engine:
        counts = decontaminate_files(inputs, out.absolute(), config, engine)
    _say(counts, out)
    return 0


def _settings(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the settings of decontamination and of the engine."""
    from openqwen.core.config import parse_config
    from openqwen.core.errors import UserError
    from openqwen.data.contamination.config import DecontaminateConfig
    from openqwen.data.engines.config import EngineConfig

    given: dict[str, Any] = {}
    for text in args.assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write KEY=VALUE, as min_units=10")
        try:
            given[key.strip()] = json.loads(value)
        except ValueError:
            given[key.strip()] = value
    given |= {k: v for k, v in (("action", args.action), ("ngram", args.ngram)) if v is not None}
    engine = {"name": args.engine or "local", "num_workers": args.workers or 0}
    config = parse_config(DecontaminateConfig, given, where="data decontaminate")
    return config, parse_config(EngineConfig, engine, where="data decontaminate")


def _say(counts: dict[str, Any], out: Path) -> None:
    from openqwen.core.log import say, warn

    rate = counts["bytes"] / 1e6 / max(counts["seconds"], 1e-6)
    line = f"{'decontaminate':<24}{counts['documents']:,} documents → {counts['kept']:,}"
    line += f"   {rate:.1f} MB/s   dropped {counts['dropped']:,}"
    say(line + (f", cut {counts['cut']:,}" if counts["cut"] else ""))
    hit = {name: row for name, row in counts["benchmarks"].items() if row["documents"]}
    for name, row in hit.items():
        documents = f"{row['documents']:,} document{'s' if row['documents'] != 1 else ''}"
        say(f"  {name:<24}{documents}, {row['items_found']:,} of {row['items']:,} items")
    clean = len(counts["benchmarks"]) - len(hit)
    if clean:
        say(f"  {'no overlap with':<24}{clean} benchmark{'s' if clean != 1 else ''}")
    lost = sum(row["items_not_looked_for"] for row in counts["benchmarks"].values())
    if lost:
        say(f"  {'not looked for':<24}{lost:,} items: too short, or boilerplate of many items")
    for reason, facts in counts["set_aside"].items():
        warn(f"set aside {facts['count']:,}: {reason} ({facts['examples'][0]})")
    say(f"{'':<24}{out / 'report.html'}")
