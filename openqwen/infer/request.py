"""One reply in the making: takes tokens, gives text, knows when it is finished and why.

request = Request(prompt_ids, sampling, vocabulary)
while not request.finish_reason:
    text = request.accept(sampler.choose(logits_BV, [request.draw])[0])
    ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.infer.config import Sampling
from openqwen.infer.constraint import Constraint
from openqwen.infer.sampling import NOT_FINITE, Choice, Draw
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
        finish_reason: "stop", "length", "cancelled", or "error".
        stop: the stop text or the stop token's name (its number without a tokenizer); None where
            neither ended it, as when its constraint is complete.
        logprobs: log-probability of each id under the model, where asked for.
        num_prompt_tokens: tokens of the prompt.
        num_new_tokens: tokens of `ids`.
        num_shared_tokens: tokens of the prompt that were found computed.
        top_logprobs: beside each id the likeliest ids and their log-probabilities, where asked for.
        error: why its constraint could not be followed further; with "error" and no such reason the
            logits held a NaN or the pass failed.
    """

    text: str
    ids: list[int]
    finish_reason: FinishReason
    stop: str | None
    logprobs: list[float] | None
    num_prompt_tokens: int
    num_new_tokens: int
    num_shared_tokens: int = field(default=0, compare=False)  # what else ran decides
    top_logprobs: list[tuple[tuple[int, float], ...]] | None = None
    error: str | None = None


class Request:
    """The state of one reply: its draws, its stop texts, its half characters.

    Attributes:
        prompt_ids: what it answers.
        ids: every token generated, the stop token included.
        pieces: the text made certain so far.
        logprobs: log-probability of each id, where asked for, else empty.
        top_logprobs: beside each id the likeliest ones, where asked for.
        finish_reason: None while it goes on.
        stop: what ended it, as in `Result`.
        error: what went wrong, as in `Result`.
        draw: how its next token is chosen.
        constraint: what it may say, or None for anything.
        adapter: the name of the adapter that answers, or None for the model itself.
        num_shared_tokens: tokens of the prompt that were found computed when it began.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        vocabulary: Vocabulary,
        seed: int | None = None,
        *,
        constraint: Constraint | None = None,
        adapter: str | None = None,
    ) -> None:
        """Start a reply to `prompt_ids`.

        Args:
            prompt_ids: what it answers.
            sampling: how tokens are chosen and what ends it.
            vocabulary: the model's.
            seed: takes the place of the settings' own.
            constraint: what it may say; has a state, so it belongs to this reply alone.
            adapter: the name of the adapter that answers.

        Raises:
            UserError: if stop texts are given and there is no tokenizer to match them with, or an
                id in the settings is outside the vocabulary.
        """
        if sampling.stop and vocabulary.tokenizer is None:
            raise UserError("stop texts need a tokenizer, and this model directory has none")
        for name, ids in (
            ("stop_token_ids", sampling.stop_token_ids),
            ("logit_bias", sampling.logit_bias),
        ):
            bad = next((i for i in ids if not 0 <= i < len(vocabulary.allowed_V)), None)
            if bad is not None:
                raise UserError(
                    f"{name}: id {bad} is outside the vocabulary of "
                    f"{len(vocabulary.allowed_V):,} rows"
                )
        self.prompt_ids = list(prompt_ids)
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self.finish_reason: FinishReason | None = None
        self.stop: str | None = None
        self.error: str | None = None
        self.num_shared_tokens = 0
        self.logprobs: list[float] = []
        self.top_logprobs: list[tuple[tuple[int, float], ...]] = []
        self.constraint, self.adapter = constraint, adapter
        seed = sampling.seed if seed is None else seed
        self.draw = Draw(sampling, self.prompt_ids, seed, constraint)
        self._sampling, self._vocabulary = sampling, vocabulary
        own = () if sampling.ignore_stop_ids else vocabulary.stop_ids
        self._stop_ids = {*own, *sampling.stop_token_ids}
        self._decoder = vocabulary.tokenizer.stream_decoder() if vocabulary.tokenizer else None
        self._watch = StopWatch(sampling.stop)

    def accept(self, choice: Choice) -> str:
        """Take the next token; return the text it made certain."""
        token = choice.token
        if token is None:
            self.error = None if choice.error == NOT_FINITE else choice.error
            return self._finish("error")
        self.ids.append(token)
        self.draw.count(token)
        if choice.logprob is not None:
            self.logprobs.append(choice.logprob)
            self.top_logprobs.append(choice.top)
        if token in self._stop_ids:
            tokenizer = self._vocabulary.tokenizer
            return self._finish("stop", tokenizer.name_of(token) if tokenizer else str(token))
        text = self._watch.push(self._decoder.push(token)) if self._decoder else ""
        if self._watch.matched is not None:
            return self._finish("stop", self._watch.matched, text)
        if self.constraint is not None and self.constraint.is_finished:
            return self._finish("stop", None, text)
        if len(self.ids) >= self._sampling.max_new_tokens:
            return self._finish("length", None, text)
        if text:
            self.pieces.append(text)
        return text

    def end(self, reason: FinishReason) -> str:
        """End the reply from outside, as it stands; return the last of its text."""
        return self._finish(reason) if self.finish_reason is None else ""

    def cancel(self) -> None:
        """End the reply as it stands; an engine frees its memory at its next step."""
        self.end("cancelled")

    def result(self) -> Result:
        """Return the finished reply; one that goes on counts as cancelled."""
        self.cancel()
        assert self.finish_reason is not None
        return Result(
            text="".join(self.pieces),
            ids=self.ids,
            finish_reason=self.finish_reason,
            stop=self.stop,
            logprobs=self.logprobs if self._sampling.logprobs else None,
            num_prompt_tokens=len(self.prompt_ids),
            num_new_tokens=len(self.ids),
            num_shared_tokens=self.num_shared_tokens,
            top_logprobs=self.top_logprobs if self._sampling.top_logprobs else None,
            error=self.error,
        )

    def _finish(self, reason: FinishReason, stop: str | None = None, text: str = "") -> str:
        """End the reply; return its last text. A stop text may complete only in the flush."""
        self.finish_reason, self.stop = reason, stop
        if self._decoder is not None and self._watch.matched is None:
            text += self._watch.push(self._decoder.flush())
            text += self._watch.flush()
            if self._watch.matched is not None:
                self.finish_reason, self.stop = "stop", self._watch.matched
        if text:
            self.pieces.append(text)
        return text


def read_sampling(given: dict[str, Any], count: int) -> tuple[Sampling, list[int]]:
    """Return settings as a caller writes them, and a seed for each of `count` prompts.

    Raises:
        UserError: if a setting is unknown or out of range, or the seeds are not one a prompt.
    """
    given, seeds = dict(given), None
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    if isinstance(given.get("seed"), list | tuple):
        seeds = [int(seed) for seed in given.pop("seed")]
        if len(seeds) != count or min(seeds, default=0) < 0:
            raise UserError(f"seed = {seeds} must give one number from 0 up for each of {count}")
    sampling = parse_config(Sampling, given, where="generate")
    return sampling, seeds or [sampling.seed + i for i in range(count)]
