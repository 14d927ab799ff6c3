"""The code section: the base beside the model that went on with code."""

from openqwen.report.content import Block, LinePlot, Row, Series, Table
from openqwen.report.formatting import compact, decimal, integer, percent, signed, small
from openqwen.report.palette import group_places
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned
from openqwen.report.sections.groups import group_name


def headline(stage: StageFacts) -> list[str]:
    """Return tokens and context."""
    counts = tuned.counts_of(stage)
    return [
        f"{compact(counts['tokens'])} tokens seen",
        f"context {integer(counts['context_length'])}",
    ]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return settings, held-out bits a byte before and after, plots."""
    return [_settings(stage), _before_and_after(stage), _plot(stage)]


def _settings(stage: StageFacts) -> Table:
    counts, settings = tuned.counts_of(stage), tuned.settings_of(stage)
    shares = counts["mixture"]
    total = sum(shares.values())
    mixture = ", ".join(f"{group_name(g)} {percent(n / total, 0)}" for g, n in shares.items())
    return tuned.beside(
        "Continued pretraining beside the report's (§4)",
        [
            ("tokens", compact(counts["tokens"]), "about 90 B"),
            ("context length (tokens)", integer(counts["context_length"]), "8,192"),
            ("the base's context (tokens)", integer(counts["before_context"]), "2,048"),
            ("learning rate", small(settings["learning_rate"]), "3e-5 (7B), 6e-5 (14B)"),
            ("schedule after the warm-up", settings["schedule"], "no decay"),
            ("warm-up", f"{settings['warmup_steps']} of {settings['num_steps']} steps", "3 %"),
            ("mixture", mixture, "code and text"),
            ("passes over the mixture", decimal(counts["epochs"], 2), "–"),
        ],
    )


def _before_and_after(stage: StageFacts) -> Table:
    counts = tuned.counts_of(stage)
    rows = []
    for group, now in counts["validation"].items():
        then = counts["before"][group]["bits_per_byte"]
        rows.append(
            Row(
                (
                    group_name(group),
                    decimal(then, 3),
                    decimal(now["bits_per_byte"], 3),
                    signed(now["bits_per_byte"] - then, 3),
                    integer(now["tokens"]),
                )
            )
        )
    return Table(
        "Bits a byte on held-out documents",
        ("group", "base", "code", "change", "tokens"),
        rows,
        note=f"The base reads at its own context of {integer(counts['before_context'])} tokens, "
        f"the code model at {integer(counts['context_length'])}. Lower is better; what code "
        "gains, text may lose.",
    )


def _plot(stage: StageFacts) -> LinePlot:
    validations = tuned.rows_of(stage, "validation")
    places = group_places(sorted({g for row in validations for g in row["groups"]}))
    before = tuned.counts_of(stage)["before"]
    series = [
        Series(
            group_name(group),
            [0, *(row["step"] for row in validations)],
            [
                before[group]["bits_per_byte"],
                *(row["groups"][group]["bits_per_byte"] for row in validations),
            ],
            place,
            has_markers=True,
        )
        for group, place in places.items()
    ]
    return LinePlot(
        "code-bits-per-byte",
        "Bits a byte on held-out documents, from the base on",
        "step",
        "bits/byte",
        series,
    )
