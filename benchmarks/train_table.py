"""The rows of train_speed.py as Markdown, and their place in docs/performance.md.

A model's rows stand under a heading of their own with the command and commit they came from, so
that models can be measured one by one: a run replaces its models' parts and leaves the others.
"""

import re
from pathlib import Path
from typing import Any

from results import write_section

OURS = "openqwen"
GOALS = {"s": (1.4, 2.0), "m": (1.5, 2.0)}  # floor and stretch, times the fastest peer
ORDER = ("s", "m", "tiny")

Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """Return one model's rows as a table and what they say of ours."""
    lines = [
        "| implementation | setting | tokens/s, median | all samples | peak memory "
        "| until the second step, cold / cached | share of peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        package = "torch" if row["impl"] not in row["versions"] else row["impl"]
        samples = ", ".join(f"{s:,.0f}" for s in row["samples"])
        if row["disturbed_samples"]:
            samples += " (" + ", ".join(f"{s:,.0f}" for s in row["disturbed_samples"]) + ")"
        lines.append(
            f"| {row['impl']} {row['versions'][package]} | {row['setting']} "
            f"| {row['tokens_per_s']:,.0f} | {samples} | {row['peak_memory_bytes'] / 1e9:.2f} GB "
            f"| {_seconds(row.get('compile_seconds'))} / "
            f"{_seconds(row.get('compile_seconds_cached'))} "
            f"| {100 * row['share_of_peak']:.0f} % |"
        )
    return "\n".join([*lines, "", *_verdict(rows)])


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _verdict(rows: list[Row]) -> list[str]:
    """Return how ours stands against the fastest peer, where there is one."""
    peers = [row for row in rows if row["impl"] != OURS]
    mine = [row for row in rows if row["impl"] == OURS]
    if not mine:
        return []
    own = mine[0]
    said = [
        f"Peak of the model's own products in this run: {own['peak_tflops']:.2f} TFLOP/s; the best "
        f"single shape {own['best_shape_tflops']:.2f}."
    ]
    if not peers:
        return said
    fastest = max(peers, key=lambda row: row["tokens_per_s"])
    ratio = own["tokens_per_s"] / fastest["tokens_per_s"]
    memory = own["peak_memory_bytes"] / fastest["peak_memory_bytes"]
    verdict = f"openqwen is {ratio:.2f} × the fastest peer ({fastest['impl']})"
    if own["model"] in GOALS:
        floor, stretch = GOALS[own["model"]]
        verdict += (
            f"; to reach {floor} ×: {_reached(ratio >= floor)}, at best {stretch} ×: "
            f"{_reached(ratio >= stretch)}"
        )
    verdict += f". Its peak memory is {memory:.2f} × that peer's"
    if own["model"] in GOALS:
        verdict += f"; to stay below: {_reached(memory < 1)}"
    return [f"{verdict}.", "", *said]


def _reached(is_so: bool) -> str:
    return "reached" if is_so else "**short**"


def parts(section: str) -> dict[str, str]:
    """Return what stands under each `### ` heading of a section, by heading."""
    found = {}
    for piece in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
        heading, _, body = piece.partition("\n")
        found[heading.strip()] = body.strip()
    return found


def current_section(page: Path, name: str) -> str:
    """Return the section's text as it stands on the page, or ""."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    return text.split(begin, 1)[1].split(end, 1)[0] if begin in text else ""


def write_parts(page: Path, name: str, title: str, opening: str, changed: dict[str, str]) -> None:
    """Replace the parts that changed, keep the others; models come in the house's order."""
    kept = parts(current_section(page, name)) | changed
    headings = sorted(kept, key=lambda h: (_place(h), h))
    bodies = [f"### {heading}\n\n{kept[heading]}" for heading in headings]
    write_section(page, name, title, "\n\n".join([opening, *bodies]))


def _place(heading: str) -> int:
    first = heading.replace(",", " ").split()[0]
    return ORDER.index(first) if first in ORDER else len(ORDER)
