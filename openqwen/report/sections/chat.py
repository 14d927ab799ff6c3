"""The chat section: fine-tuning on conversations, what is learnt of one, replies."""

from openqwen.report.content import Block, Code, Details, Row, Table, Text
from openqwen.report.formatting import integer
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned

# §3.1
REPORTED = {
    "learning rate, peak": "2e-6",
    "warm-up steps": "1,430",
    "steps": "4,000",
    "sequence length (tokens)": "2,048",
    "sequences a step": "128",
    "dropout": "0.1",
    "weight decay": "0.1",
    "gradient clipping": "1",
}
BEGIN, END = "⟦", "⟧"

headline = tuned.size_line


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return tables, plots, masks and replies of the chat model."""
    return [
        tuned.tuning_settings(stage, REPORTED),
        _conversations(stage),
        tuned.held_out_table(stage),
        *tuned.loss_plots(stage),
        *_masks(stage),
        *tuned.replies(
            stage, "Answers to held-out questions, sampled", before="base", after="chat"
        ),
        Text(
            "The report's results of chat models (Table 5, Figure 4) are not shown here: a model "
            "of this size answers in the right form, and seldom with the right content.",
            is_note=True,
        ),
    ]


def _conversations(stage: StageFacts) -> Table:
    counts = tuned.counts_of(stage)
    train, held = counts["conversations"]["train"], counts["conversations"]["validation"]
    rows = [
        Row((source, integer(train.get(source, 0)), integer(held.get(source, 0))))
        for source in sorted({*train, *held})
    ]
    rows += [
        Row((f"set aside: {why}", integer(number), ""))
        for why, number in counts["set_aside"].items()
    ]
    return Table("Conversations by source", ("source", "train", "held out"), rows)


def _masks(stage: StageFacts) -> list[Block]:
    """Return a few conversations with the learnt parts in brackets."""
    inner: list[Block] = [
        Text(f"{BEGIN}…{END} marks what bears loss: the assistant's words and the end token.")
    ]
    for pieces in stage.json("masks.json"):
        marked = (f"{BEGIN}{p['text']}{END}" if p["learnt"] else p["text"] for p in pieces)
        inner.append(Code("".join(marked)))
    return [Details("What is learnt of a conversation", inner)]
