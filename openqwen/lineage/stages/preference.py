"""The preference stage: preference-model pretraining on many rough pairs (PMP, §3.2.1)."""

from typing import Any

from openqwen.data.training.comparisons import make_comparisons
from openqwen.data.training.conversations import conversations_of
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.train.reward import train_scorer
from openqwen.train.reward_config import PreferenceConfig


def run(work: StageWork) -> dict[str, Any]:
    """Make comparisons from the run's conversations and train a scorer from the base."""
    config = work.config
    assert isinstance(config, PreferenceConfig)
    conversations = list(conversations_of(work.inputs["documents"]))
    pairs = make_comparisons(conversations, num=config.num_comparisons, seed=work.seed)
    lineage_hash = work.lineage_hash("preference")
    counts = train_scorer(
        "preference",
        config,
        work.inputs["base"],
        pairs,
        work.out,
        seed=work.seed,
        lineage_hash=lineage_hash,
    )
    counts["lineage_hash"] = lineage_hash
    tuning.write_card(
        work,
        counts,
        name="preference model",
        about="A preference model: it scores answers after training on many comparisons made by "
        "rules (PMP, §3.2.1). A start for a reward model, not a judge.",
    )
    return counts
