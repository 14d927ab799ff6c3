"""The shards section: documents, tokens and sequences of both splits, by group."""

from openqwen.report.content import Block, Row, Table
from openqwen.report.formatting import compact, integer, percent
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections.groups import group_name


def headline(stage: StageFacts) -> list[str]:
    """Return the tokens of the training split."""
    facts = stage.json("shards.json")
    tokens = facts["splits"]["train"]["tokens"]
    return [f"{compact(tokens)} training tokens", f"in sequences of {facts['context_length']:,}"]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return the splits and their tokens by group."""
    facts = stage.json("shards.json")
    splits = facts["splits"]
    rows = [
        Row((name, *(integer(split[key]) for key in ("documents", "tokens", "sequences"))))
        for name, split in splits.items()
    ]
    groups = sorted({group for split in splits.values() for group in split["tokens_by_group"]})
    shares: list[Row] = []
    for group in groups:
        cells = [group_name(group)]
        for split in splits.values():
            tokens = split["tokens_by_group"].get(group, 0)
            cells += [integer(tokens), percent(tokens / max(1, split["tokens"]))]
        shares.append(Row(tuple(cells)))
    columns = [column for name in splits for column in (f"{name} tokens", "share")]
    return [
        Table(
            "Splits",
            ("split", "documents", "tokens", f"sequences of {facts['context_length']:,} tokens"),
            rows,
            note="Copies of up-sampled documents count; an end-of-document token follows each.",
        ),
        Table("Tokens by group", ("group", *columns), shares),
    ]
