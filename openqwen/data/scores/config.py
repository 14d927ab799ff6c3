"""Settings of model scores: which models, what each objects to, and how many must object.

The report (§2.1) says that several models together decide, and gives no value: thresholds are ours.
In the field, CCNet keeps thirds by perplexity per language (Wenzek et al. 2020), and GPT-3's data
was kept by a classifier's probability (Brown et al. 2020, appendix A).
"""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from openqwen.core.config import Config, Share, setting

Kind = Literal["perplexity", "quality", "offensive", "model"]


class ScoreRule(Config):
    """When one score speaks against a document; at most one limit on each side."""

    above: float | None = setting(None, "objects above this value")
    below: float | None = setting(None, "objects below this value")
    above_quantile: Share | None = setting(
        None, "objects above the value below which this share of the model's reference texts lies"
    )
    below_quantile: Share | None = setting(
        None, "objects below the value below which this share of the model's reference texts lies"
    )
    votes: int = setting(1, "votes that an objection counts; 0 only records the score", ge=0)

    @model_validator(mode="after")
    def _limits_must_be_clear(self) -> Self:
        if self.above is not None and self.above_quantile is not None:
            raise ValueError("give above or above_quantile, not both")
        if self.below is not None and self.below_quantile is not None:
            raise ValueError("give below or below_quantile, not both")
        limits = (self.above, self.below, self.above_quantile, self.below_quantile)
        if all(limit is None for limit in limits):
            raise ValueError("names no limit; give above, below, above_quantile or below_quantile")
        return self


DEFAULT_RULES = {
    "perplexity": ScoreRule(above_quantile=0.99),
    "context_gain": ScoreRule(below_quantile=0.01),
    "bits_per_byte": ScoreRule(above_quantile=0.99),
    "quality": ScoreRule(below=0.1),
    "offensive": ScoreRule(above_quantile=0.999, votes=2),
}


class ScoresConfig(Config):
    """Model scores of prose; conversations and code are not judged."""

    models: tuple[str, ...] = setting(
        (), "directories of scorers (openqwen data train-scorer makes them); none: no scores"
    )
    rules: dict[str, ScoreRule] = setting(
        DEFAULT_RULES,
        "score, or score/language, -> when it objects; those not named keep their defaults",
    )
    min_votes: int = setting(
        2, "votes from which a document is dropped; a model has one voice", ge=1
    )
    min_units: int = setting(
        20, "words (characters for zh, ja, th) below which a text is not judged", ge=1
    )

    @field_validator("rules")
    @classmethod
    def _others_keep_their_defaults(cls, rules: dict[str, ScoreRule]) -> dict[str, ScoreRule]:
        return DEFAULT_RULES | rules


class ScorerTraining(Config):
    """How a scorer is made."""

    word_order: int = setting(3, "longest n-gram of words of a language model", ge=1, le=8)
    character_order: int = setting(
        5, "longest n-gram of characters (KenLM in CCNet: 5)", ge=1, le=8
    )
    min_count: int = setting(
        2, "times that n-grams of 3 or more units must stand to be kept by a language model", ge=1
    )
    max_units: int = setting(
        30_000_000, "words or characters a language model learns from at most", ge=1000
    )
    num_bits: int = setting(18, "2 to this many weights of n-grams in a classifier", ge=8, le=26)
    l2: float = setting(1e-4, "weight decay of a classifier", gt=0)
    num_folds: int = setting(5, "parts of the samples that are held out in turn", ge=2, le=20)
    max_samples: int = setting(50_000, "samples of each class a classifier learns from", ge=2)
    reference_share: float = setting(
        0.1, "share of a language model's texts kept apart as reference", gt=0, le=0.5
    )
