"""The audit pages (§2.1: human spot checks): what the filters did, for a person to judge.

    write_audit(out / "audit.html", funnel, corpus=out)

Static files: they work from disk, ask the network for nothing and treat every text as hostile. A
person marks texts good or bad and the page saves the marks as JSON, which `openqwen data marks`
reads (form: `data.audit.marks`). The same samples stand in audit.jsonl, for a model to mark.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openqwen.core.files import empty_directory, write_text
from openqwen.core.pages import page_environment
from openqwen.data.audit.funnel import Funnel
from openqwen.data.audit.sections import KEPT, Corpus, Group, gather
from openqwen.data.personal.config import PersonalDataConfig

__all__ = ["KEPT", "MARKS_KIND", "write_audit"]

MARKS_KIND = "openqwen audit marks"


def write_audit(
    path: Path,
    funnel: Funnel,
    *,
    corpus: Path | None = None,
    masks: PersonalDataConfig | None = None,
) -> None:
    """Write the page: the funnel; samples of each drop reason, of the kept, of each score's bands.

    Many samples are split into pages, one a step, in a folder beside it that has its name.

    Args:
        path: the HTML file; the samples also go into a file of its name that ends in .jsonl.
        funnel: the steps that were run, with the samples of what they dropped and of what stayed.
        corpus: the documents stage, where twins' texts and overlaps with benchmarks are looked up.
        masks: what replaced personal data, to be highlighted.
    """
    groups = gather(funnel, Corpus(corpus), masks or PersonalDataConfig())
    rows = [
        {"group": group.name, "question": section.question} | asdict(item)
        for group in groups
        for section in group.sections
        for item in section.items
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(path.with_suffix(".jsonl"), lines)
    folder = path.with_suffix("")
    if len(rows) <= funnel.config.page_samples:
        if folder.is_dir():
            empty_directory(folder)
            folder.rmdir()
        write_text(path, _render(funnel.rows, groups, []))
        return
    empty_directory(folder)
    links = []
    for number, group in enumerate(groups):
        name = f"{number:02}-{re.sub(r'[^a-z0-9]+', '-', group.name.lower()).strip('-')}.html"
        write_text(folder / name, _render([], [group], []))
        count = sum(len(section.items) for section in group.sections)
        links.append({"href": f"{folder.name}/{name}", "name": group.name, "count": count})
    write_text(path, _render(funnel.rows, [], links))


def _render(
    rows: Sequence[dict[str, Any]], groups: Sequence[Group], links: Sequence[dict[str, Any]]
) -> str:
    environment = page_environment(Path(__file__).parent)
    return environment.get_template("audit.html").render(
        rows=rows, groups=groups, links=links, kind=MARKS_KIND
    )
