"""Settings of the shards stage; light to import."""

from openqwen.core.config import Config, setting


class ShardsConfig(Config):
    """How documents become training sequences (§2.4)."""

    context_length: int = setting(2048, "tokens a training sequence", source="§2.4", ge=8)
