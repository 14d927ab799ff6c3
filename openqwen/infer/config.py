"""How to choose the next token, when to stop, and how the engine spends memory; light to import."""

from typing import Literal, Self

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
    presence_penalty: float = setting(
        0.0, "taken from the logit of every token that is in the reply", ge=-2, le=2
    )
    frequency_penalty: float = setting(
        0.0, "taken from a token's logit as often as it is in the reply", ge=-2, le=2
    )
    logit_bias: dict[int, float] = setting({}, "added to the logits of these ids")
    seed: int = setting(0, "seed of the draws; prompt i of a list draws with seed + i", ge=0)
    stop: tuple[str, ...] = setting(
        (), "texts that end the reply; matched on decoded text and left out of it"
    )
    stop_token_ids: tuple[int, ...] = setting(
        (), "ids that end the reply beside the model's own end tokens"
    )
    ignore_stop_ids: bool = setting(
        False, "go on past the model's end tokens, as speed measurements need"
    )
    logprobs: bool = setting(
        False, "report each token's log-probability under the model, before any filter"
    )
    top_logprobs: int = setting(
        0, "report so many of the likeliest tokens beside each token", ge=0, le=100
    )

    @property
    def is_greedy(self) -> bool:
        """Return whether the likeliest token is taken."""
        return self.greedy or self.temperature == 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.greedy and self.temperature > 0:
            raise ValueError(f"greedy and temperature = {self.temperature} contradict each other")
        if "" in self.stop:
            raise ValueError("stop holds an empty text, which would end every reply at once")
        if self.top_logprobs and not self.logprobs:
            raise ValueError(f"top_logprobs = {self.top_logprobs} needs logprobs = true")
        return self


class EngineConfig(Config):
    """How the generation engine spends memory and time; none of it changes what is generated."""

    max_num_seqs: int = setting(32, "sequences that run at the same time", ge=1)
    max_tokens_per_step: int = setting(
        512, "tokens a step computes: one of each reply, the rest from prompts", ge=1
    )
    block_tokens: int = setting(32, "tokens a block of KV memory", ge=1)
    kv_bytes: int | None = setting(
        None, "bound on KV memory in bytes; it grows as it is needed (a quarter of memory)", ge=1
    )
    kv_dtype: Literal["auto", "int8"] = setting(
        "auto", "int8 stores keys and values in half the memory, nearly the same"
    )
    share_prefixes: bool = setting(True, "compute a beginning that prompts have in common once")
    deterministic: bool = setting(
        False, "pass fixed shapes only, so that no reply depends on what else runs; slower"
    )
