"""What the harness asks of a generation, and carrying many of them through one engine.

asked = read_generation({"until": ["\\n\\n"], "max_gen_toks": 256, "do_sample": False})
for place, result in generate_all(lm, prompts, asked, seeds): ...
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openqwen.agent.models import Options
from openqwen.core.errors import UserError
from openqwen.infer.load import LanguageModel
from openqwen.infer.request import Result

DEFAULT_TOKENS = 256  # the harness's own
LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
FILTERS = ("top_p", "top_k", "min_p", "repetition_penalty")
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "use_cache": True}


@dataclass(frozen=True)
class Generation:
    """How a reply is made.

    Attributes:
        until: texts that end it, left out of it.
        max_new_tokens: of one reply.
        temperature: 0 takes the likeliest token.
        filters: settings of `infer.config.Sampling` by name, in force above temperature 0.
    """

    until: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    filters: tuple[tuple[str, float], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Return them as `LanguageModel.generate` takes them."""
        chosen: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "stop": self.until,
            "temperature": self.temperature,
        }
        return chosen | dict(self.filters)

    def options(self, seed: int) -> Options:
        """Return them as any model takes them.

        Raises:
            UserError: if a filter is asked for that endpoints don't have.
        """
        filters = dict(self.filters)
        top_p = filters.pop("top_p", 1.0)
        if filters:
            raise UserError(f"an endpoint does not take {next(iter(filters))}; ask for top_p only")
        return Options(self.max_new_tokens, self.until, self.temperature, top_p, seed)


def read_generation(given: Mapping[str, Any]) -> Generation:
    """Return what a task's generation settings mean, by the harness's own rules.

    Greedy unless the temperature is above 0 and `do_sample` isn't false.

    Raises:
        UserError: if a setting is one that would change replies and is not known.
    """
    rest = dict(given)
    until = rest.pop("until", None) or []
    lengths = [rest.pop(name, None) for name in LENGTH_NAMES]
    length = next((int(n) for n in lengths if n is not None), DEFAULT_TOKENS)
    temperature = float(rest.pop("temperature", 0.0) or 0.0)
    if rest.pop("do_sample", None) is False:
        temperature = 0.0
    given_filters = {name: rest.pop(name) for name in FILTERS if rest.get(name) is not None}
    filters = tuple(
        (name, value)
        for name, value in sorted(given_filters.items())
        if temperature > 0 or name == "repetition_penalty"
    )
    unknown = [name for name, value in rest.items() if NEUTRAL.get(name, object()) != value]
    if unknown:
        raise UserError(
            f"generation_kwargs: {unknown[0]} = {rest[unknown[0]]!r} is not supported; there are "
            f"until, do_sample, temperature, {', '.join((*FILTERS, *LENGTH_NAMES))}"
        )
    stops = [until] if isinstance(until, str) else until
    return Generation(tuple(stop for stop in stops if stop), length, temperature, filters)


def generate_all(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], asked: Generation, seeds: Sequence[int]
) -> Iterator[tuple[int, Result]]:
    """Yield places and replies as they are finished; the engine is kept full to the end.

    Longer prompts begin first, so that the last to run are cheap ones.
    """
    engine = lm.engine()
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    numbers = {}
    try:
        for i in order:
            request = lm.request(prompts[i], **asked.settings, seed=seeds[i])
            numbers[engine.add(request)] = i
        while numbers:
            for event in engine.step():
                if event.result is not None and event.number in numbers:
                    yield numbers.pop(event.number), event.result
    finally:
        for number in numbers:
            engine.cancel(number)
