"""`openqwen sandbox run FILE.py`: one program, its output on standard error, its verdict as JSON.

Standard output is one line, ours: whatever the program prints can't be taken for the verdict.
"""

import argparse
import os
import sys
from pathlib import Path

NAME = "run"
HELP = "run a Python program in the sandbox; standard output is one JSON line, the verdict"
MANUAL = """\
The program sees an empty folder and the files given, no network, no other process. The exit
code tells how it ended."""
DOCS = "docs/sandbox.md"
EXIT_CODES = {0: "the program ended well", 1: "it did not; the JSON says how"}
EXAMPLE = """
openqwen sandbox run answer.py --timeout 5 --memory-mb 256
openqwen sandbox run plot.py --file data.csv --keep '*.png' --out plots
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    from openqwen.agent.sandbox.config import LEVELS, SandboxConfig

    defaults = SandboxConfig()
    parser.add_argument("program", metavar="FILE.py", help="the program; run as /work/FILE.py")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help=f"wall time, in seconds ({defaults.timeout_s:g}); processor time likewise",
    )
    parser.add_argument(
        "--memory-mb",
        type=int,
        metavar="N",
        help=f"memory of all its processes, in MiB ({defaults.memory_mb})",
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default=defaults.level,
        help="full; namespaces: no call filter; rlimits: no isolation at all (%(default)s)",
    )
    parser.add_argument(
        "--file", action="append", default=[], metavar="IN", help="lay this file beside it"
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="GLOB",
        help="bring back the files it left whose names match",
    )
    parser.add_argument(
        "--out", metavar="DIR", default="sandbox-files", help="where kept files go (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the program; 0 only if it succeeded."""
    import json
    import math

    from openqwen.agent.sandbox.config import SandboxConfig
    from openqwen.agent.sandbox.run import run_program
    from openqwen.core.config import parse_config

    given = {"timeout_s": args.timeout, "memory_mb": args.memory_mb, "level": args.level}
    if args.timeout is not None:
        given["cpu_s"] = max(1, math.ceil(args.timeout)) if math.isfinite(args.timeout) else None
    named = {name: value for name, value in given.items() if value is not None}
    config = parse_config(SandboxConfig, named, where="sandbox run")
    program = Path(args.program)
    files = {path.name: _read(path) for path in map(Path, args.file)}
    verdict = run_program({program.name: _read(program)}, config, files=files, keep=args.keep or ())
    sys.stderr.write(_visible(verdict.stdout) + _visible(verdict.stderr))
    if verdict.reason:
        print(f"openqwen: {verdict.status}: {verdict.reason}", file=sys.stderr)
    if config.level != "full":
        print(f"openqwen: isolation was only {config.level}", file=sys.stderr)
    if verdict.files:
        _write(Path(args.out), verdict.files)
    print(json.dumps(verdict.to_json()), flush=True)
    return 0 if verdict.ok else 1


def _read(path: Path) -> bytes:
    """Return a file that the user named."""
    from openqwen.core.errors import UserError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Write kept files below a folder of the user's."""
    from openqwen.agent.sandbox.folder import put_files

    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        put_files(handle, files)
    finally:
        os.close(handle)


def _visible(text: str) -> str:
    """Return text with control characters written out, so that a terminal does not obey them."""
    shown = (c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    joined = "".join(shown)
    return joined if not joined or joined.endswith("\n") else joined + "\n"
