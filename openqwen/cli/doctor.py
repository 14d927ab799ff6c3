"""`openqwen doctor`: what this machine and this installation can do, and how to mend the rest."""

import argparse
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openqwen.core.compiled import CompiledSource

NAME = "doctor"
HELP = "say what this machine and this installation can do, and how to mend what is missing"
MANUAL = """\
Versions, the processor's features and what each gives, threads, memory, room on disk, the
compiler and which C++ kernels are compiled, the sandbox, and for each verb the packages that it
lacks with the one command that brings them. Nothing is fetched, compiled or changed."""
DOCS = "docs/install.md"
EXIT_CODES = {0: "nothing is broken; extras may be missing", 1: "something is broken"}
EXAMPLE = """\
openqwen doctor
openqwen doctor --json > doctor.json"""
SOURCES = (
    "openqwen.infer.kernels.build.SOURCE",
    "openqwen.infer.kernels.build.AVX2_SOURCE",
    "openqwen.train.kernels.build.SOURCE",
    "openqwen.data.kernels.build.SOURCE",
    "openqwen.data.rules.unit_measures.SOURCE",
    "openqwen.tokenizer.engine.SOURCE",
    "openqwen.tokenizer.extend_native.SOURCE",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 if something is broken."""
    import json

    from openqwen.core.doctor import examine, lines_of

    report = examine(sources=_sources(), sandbox=_sandbox())
    print(json.dumps(report, indent=2) if args.json else "\n".join(lines_of(report)))
    return 1 if report["broken"] else 0


def _sources() -> "list[CompiledSource]":
    """Return what we compile, as far as its modules can be imported."""
    found = []
    for name in SOURCES:
        module, _, variable = name.rpartition(".")
        try:
            found.append(getattr(importlib.import_module(module), variable))
        except ImportError:
            continue
    return found


def _sandbox() -> list[tuple[str, str]]:
    """Return what the sandbox's check finds; without bubblewrap at hand nothing is fetched."""
    from openqwen.agent.sandbox.bubblewrap import has_bubblewrap
    from openqwen.agent.sandbox.check import describe

    if not has_bubblewrap():
        return [("bubblewrap", "not here; openqwen sandbox check fetches it and tries each level")]
    return describe()
