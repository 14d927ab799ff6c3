"""The documents section: the funnel, the mixture, overlap with benchmarks, the audit page."""

from collections import Counter
from typing import Any

from openqwen.core.log import format_bytes
from openqwen.report.content import BarPlot, Block, Details, Row, Table, Text
from openqwen.report.formatting import MISSING, decimal, integer, percent, small
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections.groups import group_name

AUDIT_NAME = "audit.html"
EXAMPLES = 5  # overlaps with benchmarks that are shown
SHORT_SHARE = 0.01  # of the bytes wanted; a smaller shortfall is rounding
STEPS = {
    "extract": "text from HTML",
    "licence": "licence",
    "language": "language",
    "url": "same URL",
    "exact": "exact duplicates",
    "minhash": "near-duplicates",
    "rules": "quality rules",
    "block-list": "offensive terms",
    "scores": "model scores",
    "decontaminate": "benchmark overlap",
    "personal-data": "personal data",
    "mixture": "mixture",
}


def headline(stage: StageFacts) -> list[str]:
    """Return the documents left and the size of the mixture."""
    left = stage.json("funnel.json")[-1]["out"]
    size = stage.json("mixture.json")["mixture_bytes"]
    return [f"{integer(left)} documents", f"{format_bytes(size)} mixture"]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return the tables and the plot, and a link to the audit page."""
    funnel, mixture = stage.json("funnel.json"), stage.json("mixture.json")
    found: list[Block] = []
    audit = stage.directory / AUDIT_NAME
    if audit.is_file():
        text = "Samples of every reason for a drop, for a person to judge:"
        found.append(Text(text, link=("the audit page", run.link(audit))))
    found += [_funnel_table(funnel), _funnel_plot(funnel)]
    tables: list[Block] = [_after_steps(funnel, "sources"), _after_steps(funnel, "groups")]
    found.append(Details("The funnel by source and by group", tables))
    found.append(_mixture_table(mixture))
    found.append(Details("The mixture by source", [_source_table(mixture)]))
    found += _contamination(stage)
    return found


def _step(name: str) -> str:
    return f"{name} ({STEPS[name]})" if STEPS.get(name, name) != name else name


def _funnel_table(funnel: list[dict[str, Any]]) -> Table:
    rows = []
    for step in funnel:
        taken, left = step["in"], step["out"]
        counts = (integer(taken), integer(left), integer(taken - left))
        rows.append(Row((_step(step["step"]), *counts, percent((taken - left) / max(1, taken)))))
        for reason, count in step["dropped"].items():
            cells = (reason, "", "", integer(count), percent(count / max(1, taken)))
            rows.append(Row(cells, "part"))
    first, last = funnel[0]["in"], funnel[-1]["out"]
    total = (integer(first), integer(last), integer(first - last))
    rows.append(Row(("all steps", *total, percent((first - last) / max(1, first))), "total"))
    return Table(
        "The funnel: what each step took, kept and dropped, by reason",
        ("step", "in", "out", "dropped", "of its input"),
        rows,
        note=f"The first step takes {funnel[0]['unit']}, the others documents.",
    )


def _funnel_plot(funnel: list[dict[str, Any]]) -> BarPlot:
    return BarPlot(
        "funnel",
        "The funnel: documents kept and dropped at each step",
        "documents",
        [STEPS.get(step["step"], step["step"]) for step in funnel],
        [
            ("kept", [step["out"] for step in funnel], 0),
            ("dropped", [step["in"] - step["out"] for step in funnel], -1),
        ],
    )


def _after_steps(funnel: list[dict[str, Any]], kind: str) -> Table:
    """Return what is left of each source or group after each step."""
    names = sorted({name for step in funnel for name in step[kind]})
    rows = []
    for name in names:
        counts = [funnel[0][kind].get(name, {"in": 0})["in"]]
        counts += [step[kind].get(name, {"out": 0})["out"] for step in funnel]
        shown = name if kind == "sources" else group_name(name)
        rows.append(Row((shown, *map(integer, counts))))
    notes = {
        "sources": "",
        "groups": "A text is unidentified until the language step has looked at it.",
    }
    return Table(
        f"Documents left after each step, by {kind[:-1]}",
        (kind[:-1], "in", *(step["step"] for step in funnel)),
        rows,
        note=notes[kind],
    )


def _mixture_table(mixture: dict[str, Any]) -> Table:
    rows = []
    for group, row in mixture["groups"].items():
        asked = row["share_asked"]
        rows.append(
            Row(
                (
                    group_name(group),
                    integer(row["documents"]),
                    format_bytes(row["bytes"]),
                    MISSING if row["weight"] is None else small(row["weight"]),
                    MISSING if asked is None else percent(asked),
                    decimal(row["epochs"], 2),
                    format_bytes(row["mixture_bytes"]),
                    percent(row["share_got"]),
                    integer(row["validation_documents"]),
                )
            )
        )
    short = [
        f"{group_name(group)} falls {format_bytes(row['shortfall_bytes'])} short of what its "
        "weight asks."
        for group, row in mixture["groups"].items()
        if row["shortfall_bytes"] > SHORT_SHARE * row["wanted_bytes"]
    ]
    note = (
        "Epochs: copies of each training document, on average; at most "
        f"{small(mixture['max_epochs'])}. Held-out documents form the validation split and are "
        "not counted in the other columns."
    )
    return Table(
        "The mixture, by group",
        (
            "group",
            "documents",
            "size",
            "weight",
            "share asked",
            "epochs",
            "in the mixture",
            "share got",
            "held out",
        ),
        rows,
        note=" ".join([note, *short]),
    )


def _source_table(mixture: dict[str, Any]) -> Table:
    rows = [
        Row(
            (
                name,
                integer(row["documents"]),
                format_bytes(row["bytes"]),
                small(row["boost"]),
                decimal(row["epochs"], 2),
                format_bytes(row["mixture_bytes"]),
                percent(row["share_got"]),
                integer(row["validation_documents"]),
            )
        )
        for name, row in mixture["sources"].items()
    ]
    columns = ("source", "documents", "size", "boost", "epochs", "in the mixture", "share got")
    return Table("The mixture, by source", (*columns, "held out"), rows)


def _contamination(stage: StageFacts) -> list[Block]:
    """Return how many documents overlap with benchmarks, and a few of them."""
    assert stage.manifest is not None
    facts, settings = stage.json("contamination.json"), stage.manifest.settings
    if "decontaminate" in settings["skip"]:
        return [Text("Overlap with benchmarks was not looked for (documents.skip).")]
    if not facts["test_items"]:
        return [Text("There were no benchmark texts, so no overlap could be looked for.")]
    found = facts["documents"]
    ngram, action = settings["decontaminate"]["ngram"], settings["decontaminate"]["action"]
    done = {
        "drop": "dropped",
        "cut": "cut out with their surroundings, or dropped where little was left",
        "report": "only listed, not dropped",
    }[action]
    number = f"{integer(len(found))} documents share" if len(found) != 1 else "1 document shares"
    text = f"{number} a {ngram}-gram with one of "
    text += f"{integer(facts['test_items'])} benchmark texts" + (f": {done}." if found else ".")
    if not found:
        return [Text(text)]
    counts = Counter(
        benchmark
        for document in found
        for benchmark in {overlap["benchmark"] for overlap in document["overlaps"]}
    )
    rows = [Row((name, integer(count))) for name, count in sorted(counts.items())]
    examples = [
        Row((d["id"], d["overlaps"][0]["item"], d["overlaps"][0]["ngram"]))
        for d in found[:EXAMPLES]
    ]
    columns = ("document", "benchmark text", f"{ngram}-gram")
    return [
        Text(text),
        Table("Overlap with benchmarks", ("benchmark", "documents"), rows),
        Details("Examples of overlaps", [Table("Shared n-grams", columns, examples, 3)]),
    ]
