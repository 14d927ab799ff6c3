"""The tokenizer section: size of the vocabulary and how well it compresses each group."""

from typing import Any

from openqwen.core.log import format_bytes
from openqwen.report.content import Block, Row, Table, Text
from openqwen.report.formatting import decimal, integer, percent
from openqwen.report.reported import reported
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections.groups import group_name

TITLES = {
    "held_out": "Compression of held-out documents",
    "trained_on": "Compression of documents it was trained on",
}
HOW_TO_READ = (
    "More bytes a token is better compression; a Chinese character is three bytes. Digits: the "
    "share of tokens that are one digit."
)


def headline(stage: StageFacts) -> list[str]:
    """Return the number of ordinary tokens."""
    assert stage.manifest is not None
    return [f"{integer(stage.manifest.counts['num_ranks'])} tokens", "and control tokens"]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return the vocabulary beside the report's, and bytes a token by group."""
    compression = stage.json("compression.json")
    found: list[Block] = [_vocabulary_table(stage)]
    found += [
        _compression_table(title, compression[name])
        for name, title in TITLES.items()
        if compression[name]
    ]
    found.append(Text(HOW_TO_READ, is_note=True))
    return found


def _vocabulary_table(stage: StageFacts) -> Table:
    assert stage.manifest is not None
    counts, theirs = stage.manifest.counts, reported()["section2_2_tokenizer"]
    control = counts["vocab_size"] - counts["num_ranks"]
    both = [
        ("ordinary tokens (256 bytes, then merges)", counts["num_ranks"], "ordinary ranks"),
        ("control tokens", control, "control tokens"),
    ]
    rows = [Row((name, integer(ours), integer(theirs[key]))) for name, ours, key in both]
    total = theirs["ordinary ranks"] + theirs["control tokens"]
    rows.append(Row(("all", integer(counts["vocab_size"]), integer(total)), "total"))
    return Table(
        "Vocabulary",
        ("", "this run", "Qwen (§2.2)"),
        rows,
        note=f"Learnt from {integer(counts['train_texts'])} texts, "
        f"{format_bytes(counts['train_bytes'])}, copies of the mixture included; held-out "
        "documents were not looked at.",
    )


def _compression_table(title: str, groups: list[dict[str, Any]]) -> Table:
    rows = [
        Row(
            (
                group_name(g["group"]),
                integer(g["documents"]),
                format_bytes(g["bytes"]),
                integer(g["tokens"]),
                decimal(g["bytes_per_token"], 2),
                decimal(g["characters_per_token"], 2),
                percent(g["digit_share"]),
            ),
            "total" if g["group"] == "all" else "",
        )
        for g in groups
    ]
    return Table(
        title,
        ("group", "documents", "size", "tokens", "bytes/token", "characters/token", "digits"),
        rows,
    )
