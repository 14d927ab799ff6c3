"""Settings of the tokenizer stage (§2.2); light, so that recipes can import it."""

from openqwen.core.config import Config, setting


class TokenizerConfig(Config):
    """How to train a byte-level BPE vocabulary."""

    num_ranks: int = setting(
        151_643,
        "ordinary tokens, the 256 bytes included; fewer where the text gives no more",
        source="§2.2",
        ge=257,
        le=2**20,
    )
    max_train_bytes: int = setting(
        2_000_000_000, "most UTF-8 bytes to learn from; of more, an even sample", ge=1
    )
