"""The last section: versions, machine, recipe, seed, and how to do it again."""

from openqwen.core.log import format_bytes, format_duration
from openqwen.report.content import Block, Code, Row, Section, Table, Text
from openqwen.report.formatting import literal
from openqwen.report.run_facts import RunFacts

COMMANDS = """\
# in the run's directory: the same settings again, from nothing, into another directory
openqwen run recipe.toml --out ../again
# compare every file with the sha256 it was written with
openqwen status . --verify
# talk to the model
openqwen chat base"""


def ending(run: RunFacts) -> Section:
    """Return what someone needs to repeat the run."""
    manifests = [stage.manifest for stage in run.stages if stage.manifest]
    facts: dict[str, list[str]] = {
        "recipe": [m.recipe for m in manifests],
        "recipe hash (sha256 of all settings)": [m.recipe_hash for m in manifests],
        "seed": [str(m.seed) for m in manifests],
    }
    for manifest in manifests:
        for name, version in manifest.versions.items():
            facts.setdefault(f"version of {name}", []).append(version)
        for name, value in manifest.host.items():
            facts.setdefault(name, []).append(literal(value))
    facts["last stage finished (UTC)"] = [max(m.finished_at for m in manifests)[:16]]
    facts["time of all stages"] = [format_duration(sum(m.seconds for m in manifests))]
    facts["largest peak memory"] = [format_bytes(max(m.peak_memory_bytes for m in manifests))]
    # stages may have run under several versions or machines: all are named
    rows = [Row((name, "; ".join(dict.fromkeys(values)))) for name, values in facts.items()]
    blocks: list[Block] = [
        Table("What made these results", ("", "this run"), rows, text_columns=2),
        Text("Equal settings, inputs and seed give equal files. To repeat the run:"),
        Code(COMMANDS),
    ]
    return Section("again", "How to do it again", "", "", "", blocks)
