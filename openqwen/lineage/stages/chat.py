"""The chat stage: supervised fine-tuning on conversations (§3.1)."""

from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.conversations import (
    Conversation,
    conversations_of,
    count_by_source,
    marked,
)
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.lora import tokenizer_of
from openqwen.train.sft_config import SFTConfig

NUM_MASKS = 3
MASK_CHARS = 1200


def run(work: StageWork) -> dict[str, Any]:
    """Fine-tune on the run's conversations and the user's own; show masks and replies."""
    config = work.config
    assert isinstance(config, SFTConfig)
    set_aside = SetAside()
    conversations = tuning.own_conversations(config, set_aside, seed=work.seed, label="chat")
    if "documents" in work.inputs:
        conversations += conversations_of(work.inputs["documents"])
    if not any(c.split == "train" for c in conversations):
        raise UserError(
            "chat: there is no conversation to learn from; give files with --data, or sources of "
            f"conversations ({set_aside.summary() or 'nothing was set aside'})"
        )
    counts = tuning.tune_once(work, "chat", work.inputs["base"], conversations)
    counts |= {
        "conversations": count_by_source(conversations),
        "set_aside": set_aside.counts,
    }
    write_json(work.out / "set_aside.json", set_aside.as_json())
    tokenizer = tokenizer_of(work.inputs["base"])
    write_json(work.out / "masks.json", _masks(conversations, tokenizer, config))
    tuning.write_card(
        work,
        counts,
        name="chat",
        about="A chat model: the base, fine-tuned by openqwen on conversations in ChatML (§3.1).",
    )
    split = "validation" if any(c.split == "validation" for c in conversations) else "train"
    questions = tuning.first_questions(conversations, split=split, per_source=2)
    tuning.write_samples(work.out, work.inputs["base"], questions, seed=work.seed, label="chat")
    return counts


def _masks(
    conversations: list[Conversation], tokenizer: Tokenizer, config: SFTConfig
) -> list[list[dict[str, Any]]]:
    """Return a few short conversations in pieces, for showing what is learnt."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for conversation in conversations:
        if conversation.source in shown:
            continue
        pieces = marked(
            conversation.messages, tokenizer, default_system=config.default_system or None
        )
        if sum(len(text) for text, _ in pieces) <= MASK_CHARS:
            shown[conversation.source] = [{"text": t, "learnt": learnt} for t, learnt in pieces]
    return list(shown.values())[-NUM_MASKS:]
