"""Settings of the long-context measures; light to import."""

from pydantic import model_validator

from openqwen.core.config import Config, setting


class LongContextConfig(Config):
    """Perplexity by length with each method (Table 3), two controls, and passkey retrieval."""

    length_multiples: tuple[float, ...] = setting(
        (0.5, 1, 2, 4, 8, 16), "lengths, as multiples of the training length", source="Table 3"
    )
    num_documents: int = setting(8, "held-out documents of at least the largest length", ge=1)
    truncated_stride_share: float = setting(
        0.125,
        "control with a truncated context: share of the training length it moves by; each token "
        "sees at least (1 - share) of the training length",
        gt=0,
        le=1,
    )
    passkey_trials: int = setting(4, "passkey prompts a length and depth; 0 leaves it out", ge=0)
    passkey_depths: tuple[float, ...] = setting(
        (0.1, 0.5, 0.9), "places of the passkey, as shares of the length"
    )
    dtype: str = setting("auto", "compute type", pattern="^(auto|bfloat16|float32)$")

    @model_validator(mode="after")
    def _check(self) -> "LongContextConfig":
        if not self.length_multiples or min(self.length_multiples) <= 0:
            raise ValueError("length_multiples must hold at least one number above 0")
        if any(not 0 <= depth <= 1 for depth in self.passkey_depths):
            raise ValueError("passkey_depths must lie between 0 and 1")
        return self
