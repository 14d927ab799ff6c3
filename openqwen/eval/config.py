"""Settings of the long-context measures and of a run's own evaluation; light to import."""

from pydantic import model_validator

from openqwen.core.config import Config, setting

# rows of the table beside no method; the last two are controls
METHODS = (
    "ntk",
    "ntk+logn",
    "ntk+logn+windows",
    "logn",
    "windows",
    "uniform",
    "truncated",
)


class LongContextConfig(Config):
    """Perplexity by length with each method (Table 3), two controls, and passkey retrieval."""

    methods: tuple[str, ...] = setting(
        METHODS, "rows beside no method, which is always measured; the last two are controls"
    )
    window_shares: tuple[float, float] = setting(
        (0.5, 4.0), "windows of the lowest and the highest layer, as shares of the training length"
    )

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
    passkey_multiples: tuple[float, ...] = setting(
        (),
        "lengths of the passkey prompts, as multiples of the training length; empty: the lengths "
        "above from the training length on",
    )
    dtype: str = setting("auto", "compute type", pattern="^(auto|bfloat16|float32)$")

    @model_validator(mode="after")
    def _check(self) -> "LongContextConfig":
        if not self.length_multiples or min(self.length_multiples) <= 0:
            raise ValueError("length_multiples must hold at least one number above 0")
        if any(multiple <= 0 for multiple in self.passkey_multiples):
            raise ValueError("passkey_multiples must be above 0")
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ValueError(f"methods holds {unknown[0]!r}; there are {', '.join(METHODS)}")
        if not 0 < self.window_shares[0] <= self.window_shares[1]:
            raise ValueError("window_shares must grow from a number above 0")
        if any(not 0 <= depth <= 1 for depth in self.passkey_depths):
            raise ValueError("passkey_depths must lie between 0 and 1")
        return self


class EvaluationConfig(Config):
    """A few hundred items for every model of a run: likelihoods, arithmetic, tool calls (ours)."""

    documents_a_group: int = setting(
        24, "held-out documents a group whose bits a byte are measured", ge=2
    )
    document_tokens: int = setting(256, "of each, its first tokens", ge=8)
    num_continuations: int = setting(
        160, "passages whose true continuation is to be told from three of other documents", ge=2
    )
    passage_tokens: int = setting(64, "of a passage", ge=1)
    continuation_tokens: int = setting(24, "of a continuation", ge=1)
    num_problems: int = setting(64, "held-out arithmetic and word problems", ge=2)
    num_tool_queries: int = setting(32, "questions with three tools offered in ReAct form", ge=2)
    reply_tokens: int = setting(48, "of a reply, at most", ge=1)
    dtype: str = setting("auto", "compute type", pattern="^(auto|bfloat16|float32)$")
