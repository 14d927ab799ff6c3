"""What all requests of the API have in common: strict fields, finite numbers, null for unset.

    class Question(Body):
        model: str
        temperature: float = Field(1.0, ge=0, le=2)

A parameter that nobody knows is refused, as one that is mistyped would silently change nothing.
"""

import secrets
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

IGNORED = {
    "user": "who asks on behalf of the key",
    "store": "nothing is stored",
    "metadata": "nothing is stored",
    "service_tier": "there is one",
    "safety_identifier": "who asks on behalf of the key",
    "prompt_cache_key": "beginnings are shared anyway",
    "prompt_cache_retention": "beginnings are shared anyway",
}
MOST_CHOICES, MOST_STOPS, MOST_SEED = 16, 16, 2**63
MOST_NEW_TOKENS = 10**7  # far beyond any context


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_unset(cls, data: Any) -> Any:
        """Take null as unset, and leave out what changes nothing here."""
        if not isinstance(data, dict):
            return data
        ignored = set(IGNORED) - set(cls.model_fields)
        return {k: v for k, v in data.items() if v is not None and k not in ignored}


class StreamOptions(Body):
    """What a stream tells besides."""

    include_usage: bool = Field(False, description="count tokens in a last event")
    include_obfuscation: bool = Field(False, description="taken, and ignored")


class GenerationBody(Body):
    """How a reply is sampled and when it ends; names and ranges are OpenAI's, then vLLM's."""

    model: str = Field(description="a name from /v1/models")
    temperature: float = Field(1.0, ge=0, le=2, description="0 takes the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=MOST_CHOICES, description="choices; number i draws with seed + i")
    seed: int | None = Field(None, ge=-MOST_SEED, lt=MOST_SEED, description="drawn if not given")
    stop: str | list[str] = Field([], description="texts that end a reply, at most 16")
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: dict[str, float] = Field({}, description="token id -> -100 to 100")
    stream: bool = False
    stream_options: StreamOptions | None = None
    top_k: int = Field(0, ge=0, le=10**6, description="extension; 0 keeps all")
    min_p: float = Field(0.0, ge=0, le=1, description="extension")
    repetition_penalty: float = Field(1.0, ge=0.1, le=10, description="extension")
    ignore_eos: bool = Field(False, description="extension: go on past the end tokens")

    @model_validator(mode="after")
    def _check(self) -> Self:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        if len(stops) > MOST_STOPS or "" in stops:
            raise ValueError(f"stop: give 1 to {MOST_STOPS} texts, none of them empty")
        for key, value in self.logit_bias.items():
            if not key.isdecimal() or len(key) > 9 or not -100 <= value <= 100:
                raise ValueError(
                    f"logit_bias: {key!r}: {value} should be a token id and -100 to 100"
                )
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream = true")
        return self

    def sampling(self, max_new_tokens: int) -> dict[str, Any]:
        """Return the settings as `lm.request` takes them, without seed and log-probabilities."""
        return {
            "max_new_tokens": max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": {int(key): value for key, value in self.logit_bias.items()},
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
            "ignore_stop_ids": self.ignore_eos,
        }

    def first_seed(self) -> int:
        """Return the first choice's seed; one at random where none is given."""
        return secrets.randbelow(2**31) if self.seed is None else self.seed % MOST_SEED
