"""The audit page (§2.1: human spot checks): what the filters did, for a person to judge.

    write_audit(out / "audit.html", funnel, kept, title="tiny")

One static file: works from disk, asks the network for nothing, treats every text as hostile. Marks
are saved by the page as JSON: {"kind", "marks": [{"id", "step", "reason", "mark"}]}.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from openqwen.core.documents import Document
from openqwen.core.files import write_text
from openqwen.data.config import AuditConfig
from openqwen.data.funnel import Funnel, Samples

MARKS_KIND = "openqwen audit marks"
KEPT = "kept"


def write_audit(
    path: Path, funnel: Funnel, kept: Iterable[Document], config: AuditConfig, *, seed: int
) -> None:
    """Write the page: the funnel, samples of each drop reason, kept ones of each source and group.

    Args:
        path: the HTML file.
        funnel: the steps that were run.
        kept: the final documents.
        config: samples for each heading, length of an excerpt.
        seed: which samples are drawn.
    """
    kept_samples = Samples(config, seed=seed)
    kept_counts: dict[tuple[str, ...], int] = {}
    for document in kept:
        heading = (document.source, document.group)
        kept_counts[heading] = kept_counts.get(heading, 0) + 1
        kept_samples.offer(heading, document, facts=_facts(document))
    sections = [
        _section(row["step"], reason, count, funnel.samples.of((row["step"], reason)))
        for row in funnel.rows
        for reason, count in row["dropped"].items()
    ]
    sections += [
        _section(KEPT, ", ".join(heading), count, kept_samples.of(heading))
        for heading, count in sorted(kept_counts.items())
    ]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("audit.html").render(
        rows=funnel.rows, sections=sections, kind=MARKS_KIND, kept=KEPT
    )
    write_text(path, page)


def _section(step: str, reason: str, count: int, samples: list[Any]) -> dict[str, Any]:
    return {"step": step, "reason": reason, "count": count, "samples": samples}


def _facts(document: Document) -> tuple[str, ...]:
    """Return what else there is to know of a kept document."""
    scores = [f"{name} {value:.3g}" for name, value in sorted(document.scores.items())]
    epochs = f"{document.epochs} epoch{'s' if document.epochs != 1 else ''}"
    return (document.split, epochs, document.licence, *scores)
