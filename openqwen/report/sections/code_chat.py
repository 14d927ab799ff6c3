"""The code-chat section: two rounds of programming tasks."""

from openqwen.report.content import Block, Row, Table, Text
from openqwen.report.formatting import integer, percent
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned

# §4
REPORTED = {
    "learning rate, peak": "1e-5 (7B), 2e-6 (14B)",
    "schedule after the warm-up": "constant",
    "warm-up steps": "3 %",
}

headline = tuned.size_line


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return settings, losses, whether replies are Python, replies."""
    return [
        Text(
            "The report names several rounds and not their tasks. Here the first asks for the "
            "function that a sentence describes; the second, with stricter rules, for the rest of "
            "a function and for what one does. All come from the run's own code documents."
        ),
        tuned.tuning_settings(stage, REPORTED),
        tuned.held_out_table(stage),
        *tuned.loss_plots(stage),
        *_check(stage),
        *tuned.replies(stage, "Replies to held-out tasks", before="code", after="code chat"),
    ]


def _check(stage: StageFacts) -> list[Block]:
    """Return the share of replies that are whole Python functions."""
    if not (stage.directory / "evaluation.json").is_file():
        return []
    found = stage.json("evaluation.json")
    rows = [
        Row((name, tuned.share(found[key]["parses"], found[key]["interval"])))
        for name, key in (("code model", "before"), ("code chat model", "after"))
    ]
    after = found["after"]
    return [
        Table(
            f"Replies to {integer(found['n'])} held-out tasks that are a whole Python function",
            ("model", f"% ({tuned.INTERVAL})"),
            rows,
            note="Greedy replies; whole means that Python's parser takes it and finds a function. "
            f"Whether it does what was asked is not measured here ({percent(after['parses'], 0)} "
            "is no pass@1).",
        ),
        tuned.change_of_shares(
            found["before"]["interval"], after["interval"], "Replies that are Python"
        ),
    ]
