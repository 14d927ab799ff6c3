"""One reply in the making: takes logits, gives text, knows when it is finished and why.

request = Request(prompt_ids, sampling, vocabulary)
while not request.finish_reason:
    text = request.push(session.logits)
    ...
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.infer.config import Sampling
from openqwen.infer.sampling import pick
from openqwen.infer.stops import StopWatch
from openqwen.tokenizer.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Vocabulary:
    """What a reply needs to know of ids: their text, which may be sampled, which end it."""

    tokenizer: Tokenizer | None
    allowed_V: Tensor
    stop_ids: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """A finished reply.

    Attributes:
        text: the reply without its stop; "" where the model has no tokenizer.
        ids: every token generated, the stop token included.
        finish_reason: "stop", "length", "cancelled", or "error" (the logits held a NaN).
        stop: the stop text or the stop token's name (its number without a tokenizer), or None.
        logprobs: log-probability of each id under the model, where asked for.
        num_prompt_tokens: tokens of the prompt.
        num_new_tokens: tokens of `ids`.
    """

    text: str
    ids: list[int]
    finish_reason: FinishReason
    stop: str | None
    logprobs: list[float] | None
    num_prompt_tokens: int
    num_new_tokens: int


class Request:
    """The state of one reply: its draws, its stop texts, its half characters."""

    def __init__(
        self, prompt_ids: Sequence[int], sampling: Sampling, vocabulary: Vocabulary, index: int = 0
    ) -> None:
        """Start a reply to `prompt_ids`; `index` is its place in the list, added to the seed.

        Raises:
            UserError: if stop texts are given and there is no tokenizer to match them with.
        """
        if sampling.stop and vocabulary.tokenizer is None:
            raise UserError("stop texts need a tokenizer, and this model directory has none")
        self.prompt_ids = list(prompt_ids)
        self.ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.stop: str | None = None
        self._sampling, self._vocabulary = sampling, vocabulary
        self._generator = torch.Generator().manual_seed(sampling.seed + index)
        self._decoder = vocabulary.tokenizer.stream_decoder() if vocabulary.tokenizer else None
        self._watch = StopWatch(sampling.stop)
        self._seen_V = torch.zeros_like(vocabulary.allowed_V)
        self._seen_V[self.prompt_ids] = True
        self._logprobs: list[float] = []
        self._text: list[str] = []

    def push(self, logits_V: Tensor) -> str:
        """Choose the next token from float32 logits on the CPU; return the text it made certain."""
        if bool(logits_V.isnan().any()):
            return self._finish("error")
        token = pick(
            logits_V,
            self._sampling,
            generator=self._generator,
            allowed_V=self._vocabulary.allowed_V,
            seen_V=self._seen_V,
        )
        self.ids.append(token)
        self._seen_V[token] = True
        if self._sampling.logprobs:
            self._logprobs.append(float(logits_V[token] - logits_V.logsumexp(0)))
        if token in self._vocabulary.stop_ids and not self._sampling.ignore_stop_ids:
            tokenizer = self._vocabulary.tokenizer
            return self._finish("stop", tokenizer.name_of(token) if tokenizer else str(token))
        text = self._watch.push(self._decoder.push(token)) if self._decoder else ""
        if self._watch.matched is not None:
            return self._finish("stop", self._watch.matched, text)
        if len(self.ids) >= self._sampling.max_new_tokens:
            return self._finish("length", None, text)
        self._text.append(text)
        return text

    def cancel(self) -> None:
        """End the reply as it stands."""
        if self.finish_reason is None:
            self._finish("cancelled")

    def result(self) -> Result:
        """Return the finished reply; one that goes on counts as cancelled."""
        self.cancel()
        assert self.finish_reason is not None
        return Result(
            text="".join(self._text),
            ids=self.ids,
            finish_reason=self.finish_reason,
            stop=self.stop,
            logprobs=self._logprobs if self._sampling.logprobs else None,
            num_prompt_tokens=len(self.prompt_ids),
            num_new_tokens=len(self.ids),
        )

    def _finish(self, reason: FinishReason, stop: str | None = None, text: str = "") -> str:
        """End the reply; return its last text. A stop text may complete only in the flush."""
        self.finish_reason, self.stop = reason, stop
        if self._decoder is not None and self._watch.matched is None:
            text += self._watch.push(self._decoder.flush())
            text += self._watch.flush()
            if self._watch.matched is not None:
                self.finish_reason, self.stop = "stop", self._watch.matched
        self._text.append(text)
        return text
