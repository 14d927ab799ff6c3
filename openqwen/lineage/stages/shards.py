"""The shards stage: documents to token ids, shuffled and merged (§2.4)."""

from typing import Any

from openqwen.data.training.config import ShardsConfig
from openqwen.data.training.shards import build_shards
from openqwen.lineage.stage import StageWork


def run(work: StageWork) -> dict[str, Any]:
    """Encode the documents of both splits."""
    assert isinstance(work.config, ShardsConfig)
    return build_shards(
        work.config,
        work.inputs["documents"],
        work.inputs["tokenizer"],
        work.out,
        seed=work.seed,
    )
