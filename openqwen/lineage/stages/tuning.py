"""What the fine-tuning stages share: conversations, replies before and after, the model card."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from openqwen.core.config import to_plain
from openqwen.core.documents import Message
from openqwen.core.files import read_json, write_json
from openqwen.core.log import say
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.conversations import Conversation, first_question, read_conversations
from openqwen.data.training.packing import Encoded, encode_conversations
from openqwen.infer.load import load
from openqwen.lineage.stage import StageWork
from openqwen.model.formats.card import write_model_card
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.lora import tokenizer_of
from openqwen.train.sft import fine_tune
from openqwen.train.sft_config import SFTConfig

SAMPLE_TOKENS = 64
NUM_SAMPLES = 8


def own_conversations(
    config: SFTConfig, set_aside: SetAside, *, seed: int, label: str
) -> list[Conversation]:
    """Return the conversations of the user's own files and say what was set aside."""
    found = list(
        read_conversations(
            [Path(path).expanduser() for path in config.paths],
            set_aside=set_aside,
            seed=seed,
            validation_share=config.validation_share,
        )
    )
    if set_aside.counts:
        say(f"{label:<14}{set_aside.summary()}")
    return found


def encode_split(
    conversations: Iterable[Conversation], tokenizer: Tokenizer, config: SFTConfig, split: str
) -> Encoded:
    """Return the conversations of one split as ids and masks."""
    return encode_conversations(
        (c for c in conversations if c.split == split),
        tokenizer,
        max_tokens=config.context_length,
        default_system=config.default_system or None,
    )


def held_out_groups(
    conversations: Iterable[Conversation], tokenizer: Tokenizer, config: SFTConfig
) -> dict[str, Encoded]:
    """Return the held-out conversations of each source, encoded."""
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for conversation in conversations:
        if conversation.split == "validation":
            groups[conversation.source].append(conversation)
    return {
        name: encode_split(members, tokenizer, config, "validation")
        for name, members in sorted(groups.items())
    }


def tune(
    work: StageWork,
    label: str,
    body: Path,
    parts: Sequence[tuple[Encoded, float]],
    validation: dict[str, Encoded],
) -> dict[str, Any]:
    """Fine-tune a model directory into the stage's and return the counts, lineage hash included."""
    assert isinstance(work.config, SFTConfig)
    lineage_hash = work.lineage_hash(label)
    counts = fine_tune(
        label,
        work.config,
        body,
        parts,
        validation,
        work.out,
        seed=work.seed,
        lineage_hash=lineage_hash,
    )
    return counts | {"lineage_hash": lineage_hash}


def tune_once(
    work: StageWork, label: str, body: Path, conversations: Sequence[Conversation]
) -> dict[str, Any]:
    """Fine-tune in one round; held-out conversations are measured source by source."""
    assert isinstance(work.config, SFTConfig)
    tokenizer = tokenizer_of(body)
    train = encode_split(conversations, tokenizer, work.config, "train")
    held_out = held_out_groups(conversations, tokenizer, work.config)
    return tune(work, label, body, [(train, 1.0)], held_out)


def first_questions(
    conversations: Iterable[Conversation], *, split: str, per_source: int
) -> list[tuple[str, list[Message]]]:
    """Return source and messages up to the first question of a few conversations a source."""
    counts: dict[str, int] = defaultdict(int)
    found = []
    for conversation in conversations:
        if conversation.split != split or counts[conversation.source] >= per_source:
            continue
        counts[conversation.source] += 1
        found.append((conversation.source, first_question(conversation)))
    return found


def write_samples(
    out: Path,
    before: Path,
    questions: Sequence[tuple[str, list[Message]]],
    *,
    seed: int,
    label: str,
) -> None:
    """Write samples.json: what the model answered before and what it answers now."""
    prompts = [messages for _, messages in questions][:NUM_SAMPLES]
    replies = []
    for directory in (before, out):
        lm = load(directory)
        results = lm.generate(
            prompts, max_new_tokens=SAMPLE_TOKENS, temperature=0.7, top_p=0.9, seed=seed
        )
        replies.append([result.text for result in results])
    rows = [
        {"group": group, "prompt": messages[-1]["content"], "before": old, "text": new}
        for (group, messages), old, new in zip(questions, *replies, strict=False)
    ]
    write_json(out / "samples.json", rows)
    for row in rows[:2]:
        shown = " ".join(row["text"].split())[:100]
        say(f"{label:<14}{' '.join(row['prompt'].split())[:60]} → {shown}")


def write_card(work: StageWork, counts: dict[str, Any], *, name: str, about: str) -> None:
    """Write the model card of a fine-tuned model."""
    write_model_card(
        work.out,
        {
            "name": f"{work.recipe} {name}",
            "about": about,
            "lineage": {
                "hash": counts["lineage_hash"],
                "recipe": work.recipe,
                "seed": work.seed,
                "made_from": ", ".join(work.inputs),
            },
            "data_licences": licences(work, "sources", "preferences"),
            "validation": counts.get("validation", {}),
            "settings": to_plain(work.config),
        },
    )


def licences(
    work: StageWork,
    *kinds: str,
    otherwise: str = "those of the files it was trained on",
) -> list[str]:
    """Return name: licence of what the run's sources stage gathered.

    Args:
        work: the stage; sources.json is looked for beside it.
        kinds: of that file's tables, sources and preferences.
        otherwise: what to say where it isn't there.
    """
    path = work.out.parent / "sources" / "sources.json"
    if not path.is_file():
        return [otherwise]
    tables = read_json(path)
    rows = [item for kind in kinds for item in tables.get(kind, {}).items()]
    return [f"{name}: {row['licence']}" for name, row in rows]
