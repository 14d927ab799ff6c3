"""What the sections of fine-tuned models share: settings beside the report's, losses, replies."""

from collections.abc import Sequence
from typing import Any

from openqwen.core.log import read_metrics
from openqwen.report.content import Block, LinePlot, Row, Sample, Samples, Series, Table, Text
from openqwen.report.formatting import MISSING, compact, decimal, integer, percent, signed, small
from openqwen.report.palette import group_places
from openqwen.report.run_facts import StageFacts
from openqwen.report.sections.groups import group_name

INTERVAL = "95 % interval"


def counts_of(stage: StageFacts) -> dict[str, Any]:
    """Return the counts of a finished stage."""
    assert stage.manifest is not None
    return stage.manifest.counts


def settings_of(stage: StageFacts) -> dict[str, Any]:
    """Return the settings of a finished stage."""
    assert stage.manifest is not None
    return stage.manifest.settings


def rows_of(stage: StageFacts, kind: str) -> list[dict[str, Any]]:
    """Return the metric rows of one kind."""
    return [row for row in read_metrics(stage.directory / "metrics.jsonl") if row["kind"] == kind]


def beside(caption: str, rows: Sequence[tuple[str, str, str]], *, note: str = "") -> Table:
    """Return settings or results of this run beside the report's."""
    table = [Row(row) for row in rows]
    return Table(caption, ("", "this run", "the report"), table, note=note)


def tuning_settings(stage: StageFacts, reported: dict[str, str]) -> Table:
    """Return the settings of a fine-tuning beside the report's, as far as it gives them."""
    counts, settings = counts_of(stage), settings_of(stage)
    epochs = ", ".join(decimal(passes, 2) for passes in counts["epochs"])
    rows = {
        "learning rate, peak": small(settings["learning_rate"]),
        "schedule after the warm-up": settings["schedule"],
        "warm-up steps": integer(settings["warmup_steps"]),
        "steps": integer(counts["steps"]),
        "sequence length (tokens)": integer(counts["context_length"]),
        "sequences a step": integer(settings["sequences_per_step"] * settings["contexts_per_row"]),
        "dropout": small(settings["dropout"]),
        "weight decay": small(settings["weight_decay"]),
        "gradient clipping": small(settings["clip_norm"]),
        "passes over the conversations": epochs,
        "tokens that bear loss, in a pass": integer(counts["learnt_tokens"]),
        "padding": percent(counts["padding_share"], 2),
        "conversations cut, left out": f"{integer(counts['cut_conversations'])}, "
        f"{integer(counts['dropped_conversations'])}",
    }
    table = [(name, ours, reported.get(name, MISSING)) for name, ours in rows.items()]
    return beside(
        "Fine-tuning beside the report's",
        table,
        note="A small model needs larger steps: at the report's learning rate it would not move in "
        "so few of them.",
    )


def held_out_table(stage: StageFacts) -> Table:
    """Return the held-out loss of each group before and after."""
    counts = counts_of(stage)
    rows = []
    for group, now in counts["validation"].items():
        then = counts["before"].get(group, {}).get("loss")
        change = None if then is None else now["loss"] - then
        rows.append(
            Row(
                (
                    group_name(group),
                    integer(now["conversations"]),
                    integer(now["tokens"]),
                    decimal(then, 3),
                    decimal(now["loss"], 3),
                    signed(change, 3),
                )
            )
        )
    return Table(
        "Loss on the answers of held-out conversations (nats/token)",
        ("source", "conversations", "answer tokens", "before", "after", "change"),
        rows,
        note="The same answers in the same ChatML form for both models.",
    )


def loss_plots(stage: StageFacts) -> list[Block]:
    """Return the loss in training and on held-out conversations, and the speed."""
    name = stage.kind.name
    train, validations = rows_of(stage, "train"), rows_of(stage, "validation")
    steps = [row["step"] for row in train]
    series = [Series("training", steps, [row["loss"] for row in train], -1, is_faint=True)]
    places = group_places(sorted({g for row in validations for g in row["groups"]}))
    for group, place in places.items():
        seen = [row for row in validations if group in row["groups"]]
        series.append(
            Series(
                group_name(group),
                [row["step"] for row in seen],
                [row["groups"][group]["loss"] for row in seen],
                place,
                has_markers=True,
            )
        )
    return [
        LinePlot(
            f"{name}-loss",
            "Loss on answers in training and on held-out conversations",
            "step",
            "loss (nats/token)",
            series,
        ),
        line(stage, "speed", "Training speed", "tokens/s", {"tokens_per_s": "tokens/s"}),
    ]


def line(
    stage: StageFacts,
    name: str,
    title: str,
    y_label: str,
    keys: dict[str, str],
    *,
    zero_based: bool = True,
) -> LinePlot:
    """Return a plot of training metrics over steps; rows that lack a metric are left out."""
    train = rows_of(stage, "train")
    series = []
    for place, (key, label) in enumerate(keys.items()):
        known = [row for row in train if key in row]
        if known:
            steps = [row["step"] for row in known]
            series.append(Series(label, steps, [row[key] for row in known], place))
    full = f"{stage.kind.name}-{name}"
    return LinePlot(full, title, "step", y_label, series, zero_based=zero_based)


def replies(stage: StageFacts, caption: str, *, before: str, after: str) -> list[Block]:
    """Return a few answers of the model it started from and of the new one."""
    path = stage.directory / "samples.json"
    if not path.is_file():
        return []
    samples = []
    for row in stage.json("samples.json"):
        label = group_name(row["group"])
        old, new = label, label
        if "score" in row:
            old = f"score {decimal(row['score_before'], 2)}"
            new = f"score {decimal(row['score'], 2)}"
        samples.append(Sample(f"{before} · {old}", row["prompt"] + "\n", row["before"]))
        samples.append(Sample(f"{after} · {new}", row["prompt"] + "\n", row["text"]))
    return [Samples(caption, samples)]


def share(value: float, interval: Sequence[float]) -> str:
    """Return a share with its interval, in per cent."""
    low, high = (decimal(100 * x, 1) for x in interval)
    return f"{decimal(100 * value, 1)} ({low} – {high})"


def change_of_shares(before: Sequence[float], after: Sequence[float], what: str) -> Text:
    """Return in words whether two shares' intervals lie apart."""
    if before[1] < after[0]:
        return Text(f"{what}: measurably more than before, the intervals lie apart.")
    if after[1] < before[0]:
        return Text(f"{what}: measurably less than before, the intervals lie apart.")
    return Text(f"{what}: no measurable difference, the intervals overlap.")


def size_line(stage: StageFacts) -> list[str]:
    """Return the headline of a fine-tuned model."""
    counts = counts_of(stage)
    conversations = counts.get("conversations", {}).get("train", {})
    number = sum(conversations.values()) or counts.get("problems", {}).get("train", 0)
    return [f"{compact(number)} dialogues", f"{compact(counts['tokens'])} tokens seen"]
