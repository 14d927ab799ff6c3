"""The math-chat section: exact answers on held-out problems, before and after."""

from openqwen.report.content import Block, Row, Sample, Samples, Table, Text
from openqwen.report.formatting import integer, percent
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned

# §5, and §3.1 for what it leaves as it is
REPORTED = {
    "learning rate, peak": "2e-5",
    "warm-up steps": "1,430",
    "steps": "50,000",
    "sequence length (tokens)": "1,024",
    "sequences a step": "128",
    "dropout": "0.1",
    "weight decay": "0.1",
    "gradient clipping": "1",
}


def headline(stage: StageFacts) -> list[str]:
    """Return problems and accuracy."""
    found = stage.json("evaluation.json")
    return [
        f"{integer(tuned.counts_of(stage)['problems']['train'])} problems",
        f"{percent(found['after']['accuracy'], 0)} right on {integer(found['n'])}",
    ]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return settings, accuracy by kind, losses, examples."""
    return [
        Text(
            "Problems and worked answers are made by rules, in English and Chinese; the question "
            "bears no loss. No held-out problem's numbers stand in training with the same task."
        ),
        tuned.tuning_settings(stage, REPORTED),
        _accuracy(stage),
        _finding(stage),
        *tuned.loss_plots(stage),
        _examples(stage),
        Text(
            "The report's results (Table 12: GSM8K, MATH, Math401, Math23K) are of other problems "
            "and not comparable.",
            is_note=True,
        ),
    ]


def _accuracy(stage: StageFacts) -> Table:
    found = stage.json("evaluation.json")
    rows = [
        Row(
            (
                kind.replace("_", " "),
                integer(row["n"]),
                percent(row["before"], 1),
                percent(row["after"], 1),
            ),
            "part",
        )
        for kind, row in found["by_kind"].items()
        if row["n"]
    ]
    before, after = (
        tuned.share(found[key]["accuracy"], found[key]["interval"]) for key in ("before", "after")
    )
    rows.append(Row((f"all, % ({tuned.INTERVAL})", integer(found["n"]), before, after), "total"))
    return Table(
        "Exact answers on held-out problems",
        ("kind", "n", "base", "math chat"),
        rows,
        note=f"Greedy replies; the last number counts. Seed {found['seed']}.",
    )


def _finding(stage: StageFacts) -> Text:
    found = stage.json("evaluation.json")
    before, after = found["before"]["interval"], found["after"]["interval"]
    return tuned.change_of_shares(before, after, "Exact answers")


def _examples(stage: StageFacts) -> Samples:
    samples = [
        Sample(
            "right" if row["right"] else f"wrong: {row['answer']} is right",
            row["prompt"] + "\n",
            row["reply"],
        )
        for row in stage.json("evaluation.json")["examples"]
    ]
    return Samples("Replies to held-out problems", samples)
