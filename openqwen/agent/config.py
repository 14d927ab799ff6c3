"""Settings of agents and of endpoints; light to import."""

from typing import Literal

from openqwen.core.config import Config, setting

Form = Literal["react", "tool_call", "functions"]


class EndpointConfig(Config):
    """How an OpenAI-compatible endpoint is asked."""

    timeout_s: float = setting(300.0, "seconds without a byte from the endpoint", gt=0)
    num_retries: int = setting(5, "attempts after the first, on 429, 5xx and lost lines", ge=0)
    backoff_s: float = setting(0.5, "seconds before the first retry, doubled each time", gt=0)
    max_backoff_s: float = setting(30.0, "the longest wait between attempts, in seconds", gt=0)
    concurrency: int = setting(8, "requests under way at once", ge=1, le=256)
    continue_with: Literal["completions", "chat"] = setting(
        "completions",
        "how a begun reply goes on: its ChatML as text to /completions, or /chat/completions with "
        "continue_final_message (vLLM, SGLang)",
    )
    max_response_bytes: int = setting(64_000_000, "largest response that is read", ge=1000)


class AgentConfig(Config):
    """How an agent works and what ends it."""

    form: Form = setting("react", "how tools are told and called", source="§3.4")
    max_steps: int = setting(20, "calls of the model in one run", source="Qwen-Agent", ge=1)
    max_seconds: float = setting(600.0, "seconds of one run, tools included", gt=0)
    max_tokens: int = setting(20_000, "new tokens of one run, all steps together", ge=1)
    max_new_tokens: int = setting(1024, "new tokens of one step", ge=1)
    max_malformed: int = setting(
        3, "calls a tool can't take that are told to the model; one more ends the run", ge=0
    )
    max_repeats: int = setting(
        3, "times in a row that the same call may give the same result; then the run ends", ge=1
    )
    tool_timeout_s: float = setting(60.0, "seconds of one call, where a tool names none", gt=0)
    max_observation_chars: int = setting(
        4000, "characters of an observation; the middle of a longer one is cut", ge=200
    )
    temperature: float = setting(0.0, "0 takes the likeliest token", ge=0)
    top_p: float = setting(1.0, "mass that is drawn from", gt=0, le=1)
    seed: int = setting(0, "of the draws; step i draws with seed + i", ge=0)
