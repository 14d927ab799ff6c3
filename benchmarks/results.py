"""What every benchmark shares: where it ran, and writing its table into the docs.

A section of a docs page lies between two comment lines that name the benchmark; a run replaces it.
"""

import datetime
import subprocess
from pathlib import Path

from openqwen.core.files import write_text
from openqwen.core.runtime import count_processors, processor_flags, processor_name

ROOT = Path(__file__).parent.parent
PERFORMANCE = ROOT / "docs" / "performance.md"


def provenance(command: str) -> str:
    """Return one line: command, commit, hardware, date."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    dirty = subprocess.run(
        [*git, "status", "--porcelain", "--", "openqwen", "benchmarks"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    names = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
    flags = [name for name in names if name in processor_flags()]
    state = " with local changes" if dirty else ""
    return (
        f"`{command}`, commit {commit or 'unknown'}{state}, {count_processors()} × "
        f"{processor_name()} ({', '.join(flags)}), {datetime.date.today().isoformat()}"
    )


def write_section(page: Path, name: str, title: str, body: str) -> None:
    """Replace the section `name` of a Markdown page, or append it."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n## {title}\n\n{body.strip()}\n{end}\n"
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Performance\n"
    if begin in text:
        before, rest = text.split(begin, 1)
        text = before + section + rest.split(end, 1)[1].lstrip("\n")
    else:
        text = text.rstrip("\n") + "\n\n" + section
    write_text(page, text)
