"""What agents and measures talk to: a model here, or any endpoint that speaks OpenAI's API.

    model = LocalModel(load("runs/tiny/chat"), "runs/tiny/chat")
    model.reply([[{"role": "user", "content": "Hi"}]], Options(max_new_tokens=64))[0].text

A conversation whose last message is the assistant's is continued, not answered: that is how ReAct
goes on after an observation.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from openqwen.core.errors import UserError
from openqwen.infer.load import LanguageModel
from openqwen.infer.request import Result
from openqwen.tokenizer.chatml import encode_content, render
from openqwen.tokenizer.template import DEFAULT_SYSTEM

Message = Mapping[str, str]
Prompt = str | Sequence[Message]  # a text to continue, or a conversation


@dataclass(frozen=True)
class Options:
    """How a reply is made; greedy unless `temperature` is above 0.

    Attributes:
        max_new_tokens: of one reply.
        stop: texts that end it, left out of it.
        temperature: 0 takes the likeliest token.
        top_p: mass that is drawn from.
        seed: of the first prompt's draws; prompt i draws with `seed + i`.
    """

    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Reply:
    """One reply.

    Attributes:
        text: without the stop that ended it.
        finish_reason: `stop`, `length` or `error`.
        stop: the stop text or end token that matched; None where that is not known.
        num_prompt_tokens: 0 where an endpoint doesn't say.
        num_new_tokens: 0 where an endpoint doesn't say.
    """

    text: str
    finish_reason: str
    stop: str | None = None
    num_prompt_tokens: int = 0
    num_new_tokens: int = 0


class TextModel(Protocol):
    """A model that writes replies."""

    name: str

    def reply(self, prompts: Sequence[Prompt], options: Options) -> list[Reply]:
        """Return one reply a prompt, in order."""
        ...

    def stream(self, prompt: Prompt, options: Options) -> Generator[str, None, Reply]:
        """Yield a reply in pieces of text; closing the generator ends it."""
        ...


class LocalModel:
    """A model that this process has loaded."""

    def __init__(
        self, lm: LanguageModel, name: str, *, default_system: str | None = DEFAULT_SYSTEM
    ) -> None:
        """Take a loaded model and what it is called in results.

        `default_system` opens conversations that have no system message; None for never.
        """
        self.lm, self.name, self._default_system = lm, name, default_system

    def reply(self, prompts: Sequence[Prompt], options: Options) -> list[Reply]:
        """Return one reply a prompt, in order, computed together.

        Raises:
            UserError: if the model has no tokenizer, or a prompt is longer than its memory.
        """
        seeds = [options.seed + i for i in range(len(prompts))]
        ids = [self.encode(prompt) for prompt in prompts]
        results = self.lm.generate(ids, **_sampling(options), seed=seeds)
        return [_reply(result) for result in results]

    def stream(self, prompt: Prompt, options: Options) -> Generator[str, None, Reply]:
        """Yield a reply in pieces of text; a possible start of a stop text is held back."""
        result = yield from self.lm.stream(
            self.encode(prompt), **_sampling(options), seed=options.seed
        )
        return _reply(result)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the ids of a prompt; no text in it becomes a control token."""
        if isinstance(prompt, str):
            return self.lm.encode(prompt)
        tokenizer = self.lm.tokenizer
        if tokenizer is None:
            raise UserError(f"{self.name} has no tokenizer: it can't read a conversation")
        messages, begun = list(prompt), ""
        if messages and messages[-1]["role"] == "assistant":
            begun = messages.pop()["content"]
        rendered = render(
            messages, tokenizer, add_generation_prompt=True, default_system=self._default_system
        )
        return rendered.ids + encode_content(begun, tokenizer)


def _sampling(options: Options) -> dict[str, Any]:
    return {
        "max_new_tokens": options.max_new_tokens,
        "stop": options.stop,
        "temperature": options.temperature,
        "top_p": options.top_p,
    }


def _reply(result: Result) -> Reply:
    return Reply(
        result.text,
        result.finish_reason,
        result.stop,
        result.num_prompt_tokens,
        result.num_new_tokens,
    )
