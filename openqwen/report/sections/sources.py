"""The sources section: where the raw pages come from, on what terms, and what was set aside."""

from typing import Any

from openqwen.core.log import format_bytes
from openqwen.report.content import Block, Row, Table, Text
from openqwen.report.formatting import MISSING, integer
from openqwen.report.run_facts import RunFacts, StageFacts

REGISTRIES = {"debian": "Debian", "pypi": "PyPI", "python": "Python"}


def headline(stage: StageFacts) -> list[str]:
    """Return the number of pages and their size."""
    sources = stage.json("sources.json")["sources"].values()
    pages, size = _sum(sources, "pages"), format_bytes(_sum(sources, "bytes"))
    return [f"{integer(pages)} pages", f"{size} of raw text"] if pages else [f"{size} of own files"]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return the tables of sources, of what was set aside and of benchmarks."""
    facts = stage.json("sources.json")
    found: list[Block] = [_sources_table(facts["sources"])]
    aside = [
        Row((name, reason, ", ".join(entry["examples"][:2]), integer(entry["count"])))
        for name, source in facts["sources"].items()
        for reason, entry in source.get("set_aside", {}).items()
    ]
    if aside:
        columns = ("source", "reason", "for example", "records")
        found.append(Table("Records set aside because they could not be read", columns, aside, 3))
    if facts["left_out"]:
        rows = [Row((name, reason)) for name, reason in facts["left_out"].items()]
        found.append(Table("Sources left out on this system", ("source", "reason"), rows, 2))
    if facts["benchmarks"]:
        found.append(_benchmarks_table(facts["benchmarks"]))
    else:
        found.append(Text("No benchmark was fetched, so nothing was decontaminated.", is_note=True))
    return found


def _sources_table(sources: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, source in sources.items():
        licence = source["licence"] + (" · non-commercial" if source["non_commercial"] else "")
        aside = _aside(source)
        cells = (
            name,
            source["about"],
            _origin(name, source),
            licence,
            integer(source["pages"]) if "pages" in source else MISSING,
            format_bytes(source["bytes"]),
            integer(aside),
        )
        rows.append(Row(cells))
    every = sources.values()
    total = ("all", "", "", "", integer(_sum(every, "pages")))
    aside = sum(map(_aside, every))
    rows.append(Row((*total, format_bytes(_sum(every, "bytes")), integer(aside)), "total"))
    return Table(
        "Sources",
        ("source", "what it is", "from", "licence", "pages", "size", "set aside"),
        rows,
        text_columns=4,
        note="A page is one record: an HTML page, a text, a source file or a conversation. Own "
        "files are read by the documents stage, which counts their pages and what it set aside.",
    )


def _origin(name: str, source: dict[str, Any]) -> str:
    """Return registry, package and version; of own files the path that was given."""
    if "registry" not in source:
        return str(source.get("path", MISSING))
    package = "" if source["package"] in (name, source["registry"]) else source["package"]
    parts = (REGISTRIES.get(source["registry"], source["registry"]), package, source["version"])
    return " ".join(part for part in parts if part)


def _benchmarks_table(benchmarks: dict[str, dict[str, Any]]) -> Table:
    rows = [
        Row((name, f"{b['package']} {b['version']}", b["licence"], integer(b["rows"])))
        for name, b in benchmarks.items()
    ]
    return Table(
        "Benchmarks that the documents are checked against",
        ("benchmark", "package", "licence", "texts"),
        rows,
        text_columns=3,
    )


def _sum(sources: Any, key: str) -> int:
    return sum(int(source.get(key, 0)) for source in sources)


def _aside(source: dict[str, Any]) -> int:
    return sum(entry["count"] for entry in source.get("set_aside", {}).values())
