"""The code stage: the base goes on with code and text at a longer context (§4)."""

from typing import Any

from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.train.config import CodeConfig
from openqwen.train.continued import continue_pretraining


def run(work: StageWork) -> dict[str, Any]:
    """Continue pretraining and describe the result."""
    config = work.config
    assert isinstance(config, CodeConfig)
    lineage_hash = work.lineage_hash("code")
    counts = continue_pretraining(
        config,
        work.inputs["base"],
        work.inputs["shards"],
        work.out,
        seed=work.seed,
        lineage_hash=lineage_hash,
    )
    counts["lineage_hash"] = lineage_hash
    tuning.write_card(
        work,
        counts,
        name="code",
        about="A base model trained further on code and text at a longer context (§4).",
    )
    return counts
