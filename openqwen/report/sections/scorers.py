"""The sections of the preference model and the reward model: accuracy in Table 4's form."""

from typing import Any

from openqwen.report.content import Block, LinePlot, Row, Series, Table, Text
from openqwen.report.formatting import decimal, integer, percent, small
from openqwen.report.reported import reported
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned

KINDS = {
    "off_topic": "another question's answer",
    "cut_off": "answer cut off",
    "repeated": "a sentence over and over",
    "shuffled": "sentences in disorder",
    "other_language": "answer in the other language",
}


def headline(stage: StageFacts) -> list[str]:
    """Return pairs and held-out accuracy."""
    counts = tuned.counts_of(stage)
    found = [f"{integer(counts['pairs']['train'])} pairs"]
    held_out = counts["validation"]
    if held_out["n"]:
        found.append(f"{percent(held_out['accuracy'], 0)} right on {integer(held_out['n'])}")
    return found


def preference_blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return settings, held-out accuracy by kind, plots."""
    return [
        Text(
            "The report does not say what its comparison set is. Here an answer stands against one "
            "that is worse for a reason known by construction."
        ),
        _settings(stage),
        _before_and_after(stage),
        *_plots(stage),
    ]


def reward_blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return settings, Table 4's form, plots."""
    return [
        _settings(stage),
        *_table4(stage),
        _before_and_after(stage),
        *_plots(stage),
    ]


def _settings(stage: StageFacts) -> Table:
    counts, settings = tuned.counts_of(stage), tuned.settings_of(stage)
    return tuned.beside(
        "Training beside the report's (§3.2.1)",
        [
            ("learning rate", small(settings["learning_rate"]), "3e-6"),
            ("schedule", settings["schedule"], "constant"),
            ("pairs a step", integer(settings["pairs_per_step"]), "64"),
            ("sequence length (tokens)", integer(counts["max_tokens"]), "2,048"),
            ("passes over the pairs", decimal(counts["epochs"], 2), "1"),
            ("steps", integer(counts["steps"]), "–"),
            ("padding", percent(counts["padding_share"], 1), "–"),
        ],
    )


def _before_and_after(stage: StageFacts) -> Table:
    """Return held-out accuracy before and after training, whole and by source."""
    counts = tuned.counts_of(stage)
    before, after = counts["before"], counts["validation"]
    rows = [
        _accuracy_row(KINDS.get(source, source), before["by_source"][source], found, "part")
        for source, found in after["by_source"].items()
    ]
    if after["n"]:
        rows.append(_accuracy_row("all", before, after, "total"))
    return Table(
        "Held-out pairs: how often the better answer has the higher score",
        ("pairs", "n", f"before, % ({tuned.INTERVAL})", "after, %", "control: longer wins, %"),
        rows,
        note="A model that knows nothing is right in 50 %. The control prefers the longer answer: "
        "only what lies above it can be more than a sense of length.",
    )


def _accuracy_row(name: str, before: dict[str, Any], after: dict[str, Any], kind: Any) -> Row:
    return Row(
        (
            name,
            integer(after["n"]),
            tuned.share(before["accuracy"], before["interval"]),
            tuned.share(after["accuracy"], after["interval"]),
            decimal(100 * after["longer_wins"], 1),
        ),
        kind,
    )


def _table4(stage: StageFacts) -> list[Block]:
    """Return this run's models and the report's, set by set."""
    ours = stage.json("evaluation.json")
    if not ours:
        return [Text("There are no held-out pairs to measure on.")]
    sets = sorted({name for table in ours.values() for name in table})
    rows = [
        Row(
            (
                model,
                *(tuned.share(table[s]["accuracy"], table[s]["interval"]) for s in sets),
            )
        )
        for model, table in ours.items()
    ]
    first = next(iter(ours.values()))
    rows.append(
        Row(
            ("control: longer wins", *(decimal(100 * first[s]["longer_wins"], 1) for s in sets)),
            "control",
        )
    )
    columns = ("model", *(f"{s}, n = {integer(first[s]['n'])}" for s in sets))
    theirs = reported()["table4_reward"]
    table4 = Table(
        "The report's models on the report's sets (Table 4), %",
        ("model", *theirs["columns"]),
        [
            Row((name, *(decimal(v, 2) for v in values)), "reported")
            for name, values in theirs["rows"].items()
        ],
    )
    return [
        Table(f"Accuracy on held-out pairs, % ({tuned.INTERVAL})", columns, rows),
        Text(_finding(ours)),
        table4,
    ]


def _finding(ours: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return in words where the reward model's interval leaves out one half."""
    last = list(ours.values())[-1]
    seen = [
        name for name, row in last.items() if not row["interval"][0] <= 0.5 <= row["interval"][1]
    ]
    if not seen:
        return (
            "No measurable difference from guessing on any set: every interval includes 50 %. So "
            "few pairs and so small a model can't show more."
        )
    return f"Measurably different from guessing on: {', '.join(seen)}."


def _plots(stage: StageFacts) -> list[Block]:
    validations = [row for row in tuned.rows_of(stage, "validation") if row.get("n")]
    accuracy = tuned.line(
        stage, "accuracy", "Accuracy", "share right", {"accuracy": "training"}, zero_based=True
    )
    if validations:
        steps = [row["step"] for row in validations]
        values = [row["accuracy"] for row in validations]
        accuracy.series.append(Series("held out", steps, values, 1, has_markers=True))
    loss: LinePlot = tuned.line(
        stage, "loss", "Pairwise loss", "loss (nats/pair)", {"loss": "training"}
    )
    scores = tuned.line(
        stage,
        "scores",
        "Scores in training",
        "mean score",
        {"chosen_score": "better answers", "rejected_score": "worse answers"},
        zero_based=False,
    )
    return [loss, accuracy, scores]
