"""How to choose the next token, and when to stop; light to import."""

from typing import Self

from pydantic import model_validator

from openqwen.core.config import Config, setting


class Sampling(Config):
    """Settings of one generation; with none given it is greedy."""

    max_new_tokens: int = setting(256, "tokens to generate at most, the stop token counted", ge=1)
    temperature: float = setting(0.0, "divides the logits; 0 takes the likeliest token", ge=0)
    greedy: bool = setting(False, "take the likeliest token; the same as temperature 0")
    top_k: int = setting(0, "keep this many of the likeliest tokens; 0 keeps all", ge=0)
    top_p: float = setting(
        1.0, "keep the likeliest tokens that together reach this probability", gt=0, le=1
    )
    min_p: float = setting(
        0.0, "keep tokens with at least this share of the likeliest one's probability", ge=0, le=1
    )
    repetition_penalty: float = setting(
        1.0, "above 1 makes tokens of the prompt and the reply less likely", ge=0.1, le=10
    )
    seed: int = setting(0, "seed of the draws; prompt i of a list draws with seed + i", ge=0)
    stop: tuple[str, ...] = setting(
        (), "texts that end the reply; matched on decoded text and left out of it"
    )
    ignore_stop_ids: bool = setting(False, "go on past end tokens, as speed measurements need")
    logprobs: bool = setting(
        False, "report each token's log-probability under the model, before any filter"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.greedy and self.temperature > 0:
            raise ValueError(f"greedy and temperature = {self.temperature} contradict each other")
        if "" in self.stop:
            raise ValueError("stop holds an empty text, which would end every reply at once")
        return self
