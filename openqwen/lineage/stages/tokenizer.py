"""The tokenizer stage: byte-level BPE on the training documents (§2.2)."""

from typing import Any

from openqwen.lineage.stage import StageWork
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.tokenizer.train import train_tokenizer


def run(work: StageWork) -> dict[str, Any]:
    """Learn the vocabulary from the mixture; held-out documents are not looked at."""
    assert isinstance(work.config, TokenizerConfig)
    return train_tokenizer(
        work.config,
        work.inputs["documents"] / "documents",
        work.out,
        keep=lambda document: document.split == "train",
    )
