"""The first section: the picture of the lineage and a row a stage."""

from openqwen.core.log import format_bytes, format_duration
from openqwen.report.content import Row, Section, Table
from openqwen.report.formatting import MISSING
from openqwen.report.picture import lineage_picture
from openqwen.report.run_facts import RunFacts


def overview(run: RunFacts, headlines: dict[str, list[str]]) -> Section:
    """Return what the run made, on one screen.

    Args:
        run: the stages.
        headlines: finished stages' short lines.
    """
    rows = []
    later = [s.kind.name for s in run.stages if s.state == "not in this recipe"]
    for stage in run.stages:
        if stage.kind.name in later:
            continue
        if stage.manifest is None:
            rows.append(Row((stage.kind.name, stage.kind.source, stage.state, *[MISSING] * 3)))
            continue
        rows.append(
            Row(
                (
                    stage.kind.name,
                    stage.kind.source,
                    ", ".join(headlines.get(stage.kind.name, [])) or "finished",
                    format_duration(stage.manifest.seconds),
                    format_bytes(stage.manifest.peak_memory_bytes),
                    format_bytes(stage.bytes),
                )
            )
        )
    done = [stage.manifest for stage in run.stages if stage.manifest]
    total = (
        format_duration(sum(manifest.seconds for manifest in done)),
        format_bytes(max(manifest.peak_memory_bytes for manifest in done)),
        format_bytes(sum(stage.bytes for stage in run.stages)),
    )
    rows.append(Row(("all finished stages", "", "", *total), "total"))
    table = Table(
        "Stages of the lineage",
        ("stage", "report", "result", "time", "peak memory", "on disk"),
        rows,
        text_columns=3,
        note="Times are minutes:seconds and add up; peak memory is the largest."
        + (f" Not in this recipe: {', '.join(later)}." if later else ""),
    )
    return Section(
        "lineage",
        "Lineage",
        "Figure 1",
        "A run is a chain of stages. Each reads what earlier ones wrote, and adds a box.",
        "",
        [lineage_picture(run, headlines), table],
    )
