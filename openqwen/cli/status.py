"""`openqwen status DIR`: what of a run is done."""

import argparse
from pathlib import Path

NAME = "status"
HELP = "show a run's stages: state, time, memory, size"
MANUAL = """\
Reads manifests only and changes nothing; it may run beside the run itself."""
DOCS = "docs/architecture.md"
EXIT_CODES = {1: "a finished stage is damaged"}
EXAMPLE = "openqwen status runs/tiny --verify"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("directory", help="run directory")
    parser.add_argument(
        "--verify", action="store_true", help="read every file and compare its sha256"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; exit code 1 where a finished stage is damaged."""
    from openqwen.core.log import format_bytes, format_duration, say
    from openqwen.lineage.status import run_status
    from openqwen.report.runs_text import training_line

    rows = run_status(Path(args.directory), verify=args.verify)
    say(f"{'stage':<14}{'state':<13}{'time':>8}{'peak memory':>14}{'size':>11}   finished (UTC)")
    for row in rows:
        if row.state == "not started" or row.state == "unfinished":
            progress = training_line(Path(args.directory) / row.name)
            say(f"{row.name:<14}{row.state:<13}{progress}".rstrip())
            continue
        say(
            f"{row.name:<14}{row.state:<13}{format_duration(row.seconds):>8}"
            f"{format_bytes(row.peak_memory_bytes):>14}{format_bytes(row.bytes):>11}   "
            f"{row.finished_at.removesuffix('+00:00')}"
        )
        for problem in row.problems:
            say(f"{'':<14}{problem}")
    if args.verify and all(row.state != "damaged" for row in rows):
        say("every file of the finished stages has the bytes it was written with")
    return 1 if any(row.state == "damaged" for row in rows) else 0
