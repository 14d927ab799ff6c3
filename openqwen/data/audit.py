"""The audit page (§2.1: human spot checks): what the filters did, for a person to judge.

    write_audit(out / "audit.html", funnel)

One static file: works from disk, asks the network for nothing, treats every text as hostile. Marks
are saved by the page as JSON: {"kind", "marks": [{"id", "step", "reason", "mark"}]}.
"""

from pathlib import Path
from typing import Any

import jinja2

from openqwen.core.files import write_text
from openqwen.data.funnel import Funnel
from openqwen.data.samples import KEPT

MARKS_KIND = "openqwen audit marks"


def write_audit(path: Path, funnel: Funnel) -> None:
    """Write the page: the funnel, samples of each drop reason, kept ones of each source and group.

    Args:
        path: the HTML file.
        funnel: the steps that were run, with the samples of what they dropped and of what stayed.
    """
    samples = funnel.samples
    sections = [
        _section(row["step"], reason, count, samples.of((row["step"], reason)))
        for row in funnel.rows
        for reason, count in row["dropped"].items()
    ]
    sections += [
        _section(KEPT, ", ".join(heading[1:]), samples.counts[heading], samples.of(heading))
        for heading in sorted(samples.counts)
        if heading[0] == KEPT
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
