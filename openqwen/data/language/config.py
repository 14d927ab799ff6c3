"""Settings of language identification; light, so that recipes import it freely."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from openqwen.core.config import Config, setting


class LanguageConfig(Config):
    """Which language a document is in, and which languages stay."""

    languages: tuple[str, ...] = setting((), "ISO 639-1 codes to keep; empty keeps all")
    min_confidence: Annotated[float, Field(ge=0, le=1)] = setting(
        0.35, "below this share the language is undecided (FineWeb drops below 0.65)"
    )
    min_letters: int = setting(
        10, "prose with fewer letters is undecided; an ideograph counts as three", ge=1
    )
    sample_chars: int = setting(340, "characters of a text that are looked at first", ge=100)
    large_sample_chars: int = setting(
        2400, "characters that are looked at where the first look is not sure", ge=100
    )
    use_cld2: bool = setting(
        True, "ask pycld2 too; without it short texts and near twins are told apart less well"
    )

    @model_validator(mode="after")
    def _second_look_must_see_more(self) -> Self:
        if self.large_sample_chars < self.sample_chars:
            raise ValueError(
                f"large_sample_chars {self.large_sample_chars} is below sample_chars "
                f"{self.sample_chars}; give it at least as many"
            )
        return self
