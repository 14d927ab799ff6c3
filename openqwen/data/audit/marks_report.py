"""The summary of marks as Markdown, and marked texts as samples for a quality classifier."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path
from openqwen.data.audit.marks import QUALITY_STEPS, Mark
from openqwen.data.audit.sections import Corpus

MAX_LISTED = 50  # disagreements in the Markdown; the JSON has all
RULE = ("---", "---:")


def as_markdown(summary: dict[str, Any], left_out: dict[str, int]) -> str:
    """Return the summary with its tables; shares are percentages with 95 % intervals.

    Args:
        summary: what `summarise` returned.
        left_out: marks that were not counted, by reason.
    """
    parts = ["# What the marks say", _markers(summary, left_out)]
    if summary["steps"]:
        parts += ["## How often each step was right", _steps(summary["steps"])]
        parts += ["## How often each decision was right", _decisions(summary["decisions"])]
    if summary["bands"]:
        parts += ["## Good texts by score", _bands(summary["bands"])]
    if summary["agreement"]:
        parts += ["## Agreement", _agreement(summary)]
    return "\n\n".join(parts) + "\n"


def _markers(summary: dict[str, Any], left_out: dict[str, int]) -> str:
    lines = [
        f"- {row['kind']} **{escape(row['name'])}**: {row['marks']:,} marks, {row['good']:,} good"
        for row in summary["markers"]
    ]
    lines += [f"- not counted: {count:,} {reason}" for reason, count in left_out.items()]
    lines += [
        f"- {count:,} texts with as many good as bad marks by a {kind}, not counted"
        for kind, count in summary["tied"].items()
    ]
    text = "A drop is right where its text was marked bad, a kept text where it was marked good."
    return "\n".join(lines) + f"\n\n{text} Intervals: 95 %, Wilson."


def _steps(rows: Sequence[dict[str, Any]]) -> str:
    table = [
        [row["by"], row["step"], f"{row['n']:,}", percent(row), _weighted(row.get("weighted"))]
        for row in rows
    ]
    heads = ["by", "step", "marked", "right", "right, reasons weighted by their documents"]
    return markdown_table(heads, table, numbers={2, 3, 4})


def _weighted(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    covered = "" if found["covered"] == 1 else f", of {100 * found['covered']:.0f} % of its drops"
    return percent(found) + covered


def _decisions(rows: Sequence[dict[str, Any]]) -> str:
    table = [
        [row["by"], row["step"], row["reason"], _count(row), f"{row['n']:,}", percent(row)]
        for row in rows
    ]
    heads = ["by", "step", "reason", "documents", "marked", "right"]
    return markdown_table(heads, table, numbers={3, 4, 5})


def _count(row: dict[str, Any]) -> str:
    return "" if row["documents"] is None else f"{row['documents']:,}"


def _bands(rows: Sequence[dict[str, Any]]) -> str:
    table = [[r["by"], r["score"], r["band"], f"{r['n']:,}", percent(r)] for r in rows]
    return markdown_table(["by", "score", "band", "marked", "good"], table, numbers={3, 4})


def _agreement(summary: dict[str, Any]) -> str:
    table = [
        [
            *(escape(name) for name in row["between"]),
            f"{row['n']:,}",
            percent(row) if row["n"] else "",
            "" if row.get("kappa") is None else f"{row['kappa']:.2f}",
        ]
        for row in summary["agreement"]
    ]
    heads = ["one", "other", "both marked", "the same", "Cohen's kappa"]
    text = markdown_table(heads, table, numbers={2, 3, 4})
    differing = summary["disagreements"]
    if not differing:
        return text
    shown = [
        f"- `{row['id']}` ({row['step']}, {row['reason']}): "
        + ", ".join(f"{escape(name)} {mark}" for name, mark in row["marks"].items())
        for row in differing[:MAX_LISTED]
    ]
    more = len(differing) - len(shown)
    shown += [f"- and {more:,} more"] if more else []
    return f"{text}\n\n{len(differing):,} texts are seen differently:\n\n" + "\n".join(shown)


def percent(row: dict[str, Any]) -> str:
    """Return a share with its interval: "83 % (61 – 94)"."""
    low, high = row["interval"]
    return f"{100 * row['share']:.0f} % ({100 * low:.0f} – {100 * high:.0f})"


def markdown_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int]
) -> str:
    """Return a table; columns of numbers stand to the right."""
    rule = [RULE[place in numbers] for place in range(len(heads))]
    lines = [heads, rule, *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Return a text that breaks no table and is no markup."""
    plain = text.replace("\\|", "|").replace("|", "\\|").replace("\n", " ")
    return plain.replace("<", "&lt;")


def export(marks: Sequence[Mark], corpus: Path, folder: Path) -> dict[str, int]:
    """Write the marked texts as good.jsonl and bad.jsonl, to train a quality classifier on.

    Left out are texts dropped by steps that don't judge what a text is like (twins, languages,
    licences, benchmarks), and texts that markers see differently. Of dropped texts there is what
    the corpus kept of them, their start.

    Args:
        marks: of any number of markers.
        corpus: the documents stage they speak of.
        folder: the directory to write.

    Returns:
        How many were written and left out, by reason.

    Raises:
        UserError: if none is left.
    """
    said: dict[str, set[bool]] = {}
    counts = {"good": 0, "bad": 0, "dropped for another reason": 0, "seen differently": 0}
    for mark in marks:
        if mark.step in QUALITY_STEPS:
            said.setdefault(mark.id, set()).add(mark.is_good)
        else:
            counts["dropped for another reason"] += 1
    settled = {id: given for id, given in said.items() if len(given) == 1}
    counts["seen differently"] = len(said) - len(settled)
    texts = Corpus(corpus).texts(set(settled))
    counts["not in the corpus"] = len(settled.keys() - texts.keys())
    if not texts:
        raise UserError(f"no marked text that says something about quality is in {corpus}")
    by = {mark.id: str(mark.marker) for mark in marks}
    for name, is_good in (("good", True), ("bad", False)):
        with (
            atomic_path(folder / f"{name}.jsonl") as path,
            path.open("w", encoding="utf-8") as file,
        ):
            for id in sorted(texts):
                if settled[id] == {is_good}:
                    row = {"id": id, "text": texts[id], "marked_by": by[id]}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    counts[name] += 1
    return counts
