"""The table of hostile programs and what became of them, as root and as an ordinary user.

    python benchmarks/sandbox_hostile.py [--write-docs]

Runs the suite of tests/agent in rooms of its own (`hostile_runner.in_a_room`).
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import ROOT, provenance, write_section

PAGE = ROOT / "docs" / "sandbox.md"


def run_all(as_nobody: bool) -> dict[str, dict[str, Any]]:
    """Return the rows of the whole suite by name."""
    sys.path.insert(0, str(ROOT / "tests" / "agent"))
    from hostile_runner import run_suite  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        out.chmod(0o777)
        return {row["name"]: row for row in run_suite(out, as_nobody=as_nobody, slow=True)}


def table(runs: dict[str, dict[str, dict[str, Any]]]) -> tuple[str, int]:
    """Return the table in Markdown, and how many programs left a trace outside."""
    lines = [
        "| it tries | " + " | ".join(runs) + " |",
        "|---|" + "---|" * len(runs),
    ]
    first = next(iter(runs.values()))
    group, escaped = "", 0
    for name, row in first.items():
        if row["group"] != group:
            group = row["group"]
            lines.append(f"| **{group}** |" + " |" * len(runs))
        rows = [rows[name] for rows in runs.values()]
        escaped += any(row["problems"] for row in rows)
        lines.append(f"| {name} | " + " | ".join(row["status"] for row in rows) + " |")
    return "\n".join(lines), escaped


def main() -> None:
    """Run, print, and write the section of docs/sandbox.md if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if os.geteuid() == 0:
        runs = {"as root": run_all(False), "as an ordinary user": run_all(True)}
    else:
        runs = {"as an ordinary user": run_all(False)}
    text, escaped = table(runs)
    count = len(next(iter(runs.values())))
    body = (
        f"{count} programs, {escaped} of which left a trace outside. `ok` means that the program "
        "ended by itself, its attempt without effect: what it left behind was ended with it, what "
        "it put in its folder was not followed.\n\n"
        f"{text}\n\n{provenance('python benchmarks/sandbox_hostile.py --write-docs')}"
    )
    print(body)
    if args.write_docs:
        write_section(PAGE, "hostile programs", "Hostile programs", body)


if __name__ == "__main__":
    main()
