"""How scoring spends memory and time; light to import."""

from openqwen.core.config import Config, setting


class ScoringConfig(Config):
    """Bounds of the scorer; none of them changes a score beyond rounding."""

    pass_tokens: int = setting(
        1024, "tokens of one forward pass; a longer text is computed in pieces of so many", ge=1
    )
    kept_tokens: int = setting(
        32_768, "tokens whose keys and values are kept for what begins with them", ge=1
    )
    least_saved: int = setting(
        32, "a beginning is shared where that saves at least so many tokens", ge=1
    )
