"""A loaded model as something to talk to: logits, sessions, replies, streams, vectors.

lm = load("runs/tiny/base", context=1024)       # infer.load
lm.logits(ids_BT)
session = lm.start(ids); session.step(token)
lm.generate(["Once upon a time"], max_new_tokens=40)[0].text
for text in lm.stream([{"role": "user", "content": "Hi"}], temperature=0.8): ...
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from openqwen.core.config import parse_config, to_plain
from openqwen.core.errors import UserError
from openqwen.infer.adapters import Adapters
from openqwen.infer.config import EngineConfig, Sampling
from openqwen.infer.constraint import Constraint
from openqwen.infer.embed import mean_states
from openqwen.infer.engine import Engine
from openqwen.infer.fused import FusedLayer
from openqwen.infer.grammar import Grammars
from openqwen.infer.kernels.build import open_kernels
from openqwen.infer.quantise import QuantisedLinear
from openqwen.infer.request import Request, Result, Vocabulary, read_sampling
from openqwen.infer.sampling import allowed_rows
from openqwen.infer.session import Session, check_ids
from openqwen.model.config import ModelConfig, count_parameters
from openqwen.model.decoder import Decoder
from openqwen.model.long_context import NO_EXTENSION, LongContext
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.control import IM_END
from openqwen.tokenizer.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Sequence[dict[str, str]]


class LanguageModel:
    """A loaded model.

    Attributes:
        config: its shape.
        model: the decoder, an `nn.Module` in evaluation mode.
        tokenizer: or None where the directory has none.
        long_context: the methods in force beyond the training length.
        context: tokens it is set up for; nothing refuses more.
        stop_ids: ids that end a reply: the file's own, with ChatML's unless it lists `<|im_end|>`.
        engine_config: how `generate` and `stream` run where a call does not say otherwise.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer | None,
        *,
        long_context: LongContext = NO_EXTENSION,
        context: int | None = None,
        stop_ids: Sequence[int] = (),
        adapters: Adapters | None = None,
    ) -> None:
        """Join the parts; `load` does it from a directory.

        Raises:
            UserError: if the tokenizer has ids that the model has no rows for, or the windows are
                not one a layer.
        """
        config = model.config
        if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.vocab_size:,} ids, the model only "
                f"{config.vocab_size:,} rows: they don't belong together"
            )
        windows = long_context.windows
        if windows is not None and (len(windows) != config.num_hidden_layers or min(windows) < 1):
            raise UserError(
                f"windows must give at least 1 token for each of {config.num_hidden_layers} "
                f"layers, got {windows}"
            )
        self.config: ModelConfig = config
        self.model, self.tokenizer = model, tokenizer
        self.long_context = long_context
        self.context = context or config.train_length
        self.stop_ids = _all_stop_ids(stop_ids, tokenizer)
        self.engine_config = EngineConfig()
        self._adapters = adapters or Adapters()
        self._engine: Engine | None = None
        self._grammars: Grammars | None = None
        self._vocabulary = Vocabulary(
            tokenizer, allowed_rows(config.vocab_size, tokenizer), self.stop_ids
        )

    @torch.no_grad()
    def logits(
        self,
        ids_BT: Tensor | Sequence[Sequence[int]],
        lengths_B: Sequence[int] | None = None,
        *,
        padding: Literal["right", "left"] = "right",
    ) -> Tensor:
        """Return float32 logits (B, T, V) of every position and every row of the vocabulary.

        Args:
            ids_BT: token ids, padded with any id.
            lengths_B: tokens of each row that are not padding; every row is as if alone, and what
                stands in its padding is undefined.
            padding: the side it stands on.

        Raises:
            ValueError: if an id is outside the vocabulary or `padding` is neither side.
        """
        if padding not in ("right", "left"):
            raise ValueError(f"padding is right or left, got {padding!r}")
        ids_BT = torch.as_tensor(ids_BT)
        check_ids(ids_BT.flatten().tolist(), self.config.vocab_size)
        if padding == "left" and lengths_B is not None:
            pads = [ids_BT.shape[1] - int(length) for length in lengths_B]
            rows_BT = torch.stack([row.roll(-n) for row, n in zip(ids_BT, pads, strict=True)])
            logits_BTV: Tensor = self.logits(rows_BT, lengths_B)
            for row_TV, n in zip(logits_BTV, pads, strict=True):
                row_TV.copy_(row_TV.roll(n, dims=0))
            return logits_BTV
        raw_BTV: Tensor = self.model(
            ids_BT.to(self._device), long_context=self.long_context, lengths_B=lengths_B
        )
        return raw_BTV.to(torch.float32)

    def start(self, ids: Sequence[int]) -> Session:
        """Return a session that has read `ids`; as many as you like may be open at once."""
        return Session(self.model, _plain_ids(ids), self._methods())

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the ids of a prompt: text, ids, or messages (rendered as ChatML for a reply).

        Text is ordinary: no part of it becomes a control token. Empty text is the start of a
        document.

        Raises:
            UserError: if text needs a tokenizer and there is none, or there are no ids.
            ValueError: if an id is outside the vocabulary.
        """
        if isinstance(prompt, str):
            tokenizer = self._need_tokenizer()
            return tokenizer.encode(prompt) or [tokenizer.eos_id]
        if len(prompt) and isinstance(prompt[0], dict):
            messages: Any = prompt
            return render(messages, self._need_tokenizer(), add_generation_prompt=True).ids
        ids = _plain_ids(prompt)
        if not ids:
            raise UserError("the prompt has no token")
        check_ids(ids, self.config.vocab_size)
        return ids

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        json_schema: Mapping[str, Any] | None = None,
        adapter: str | None = None,
        **sampling: Any,
    ) -> list[Result]:
        """Return one reply a prompt, in order; settings as in `Sampling`, greedy by default.

        Args:
            prompts: each as `encode` takes it.
            json_schema: every reply is a JSON text of this schema.
            adapter: the name of the adapter that answers; None for the model itself.
            sampling: settings of `Sampling`; `seed` may be a list, one for each prompt. Settings of
                `EngineConfig` go to the engine.

        Raises:
            UserError: if a setting is unknown or out of range, the schema cannot be followed, or a
                prompt is longer than the engine's memory.
        """
        if isinstance(prompts, str):
            raise TypeError("generate takes a list of prompts; put the one prompt into a list")
        engine, settings, seeds = self._prepare(sampling, len(prompts))
        requests = [
            Request(
                self.encode(prompt),
                settings,
                self._vocabulary,
                seed,
                constraint=None if json_schema is None else self.grammars.json_schema(json_schema),
                adapter=adapter,
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        return engine.run(requests)

    def stream(
        self, prompt: Prompt, *, adapter: str | None = None, **sampling: Any
    ) -> Generator[str, None, Result]:
        """Yield the reply in pieces of text, never half a character; returns the `Result`.

        A possible start of a stop text is held back until it is decided. Closing the generator
        ends the reply.
        """
        engine, settings, seeds = self._prepare(sampling, 1)
        request = Request(
            self.encode(prompt), settings, self._vocabulary, seeds[0], adapter=adapter
        )
        return (yield from engine.stream(request))

    @property
    def adapters(self) -> tuple[str, ...]:
        """Return the names that `adapter` takes."""
        return tuple(name for name in self._adapters.names if name is not None)

    def embed(self, prompts: Sequence[Prompt]) -> Tensor:
        """Return a vector a prompt, (N, D) float32: the mean of its last hidden states.

        Not scaled; similar texts have similar directions (`infer.embed`).

        Raises:
            UserError: if a prompt is longer than the context.
        """
        if isinstance(prompts, str):
            raise TypeError("embed takes a list of texts; put the one text into a list")
        texts = [self.encode(prompt) for prompt in prompts]
        for i, ids in enumerate(texts):
            if len(ids) > self.context:
                raise UserError(
                    f"text {i + 1} of {len(texts):,} has {len(ids):,} tokens, the context is "
                    f"{self.context:,}; cut it into parts"
                )
        return mean_states(self.model, texts, long_context=self._methods())

    def engine(self, **settings: Any) -> Engine:
        """Return the engine behind `generate` and `stream`; settings as in `EngineConfig`.

        One is kept, and with it what prompts have in common, until other settings are asked for.

        Raises:
            UserError: if a setting is unknown or out of range.
        """
        settings = to_plain(self.engine_config) | settings
        config = parse_config(EngineConfig, settings, where="engine")
        engine = self._engine
        if (
            engine is None
            or engine.config != config
            or engine.long_context != self._methods()
            or not engine.is_on(self._device)
        ):
            engine = self._engine = Engine(
                self.model,
                self._vocabulary,
                long_context=self._methods(),
                config=config,
                adapters=self._adapters,
            )
        return engine

    def request(
        self,
        prompt: Prompt,
        *,
        constraint: Constraint | None = None,
        adapter: str | None = None,
        **sampling: Any,
    ) -> Request:
        """Return a request for `engine().add`; settings as in `generate`.

        Args:
            prompt: as `encode` takes it.
            constraint: what the reply may say (`infer.constraint`); for one reply only.
            adapter: the name of the adapter that answers.
            sampling: settings of `Sampling`.
        """
        settings, seeds = read_sampling(sampling, 1)
        return Request(
            self.encode(prompt),
            settings,
            self._vocabulary,
            seeds[0],
            constraint=constraint,
            adapter=adapter,
        )

    @property
    def grammars(self) -> Grammars:
        """Return what makes constraints for `request`; made at the first use, in about a second.

        Raises:
            UserError: if there is no tokenizer, or llguidance is not installed.
        """
        if self._grammars is None:
            rows = self.config.vocab_size
            self._grammars = Grammars(self._need_tokenizer(), rows, self.stop_ids)
        return self._grammars

    def _prepare(self, given: dict[str, Any], count: int) -> tuple[Engine, Sampling, list[int]]:
        """Part the engine's settings from the sampling's; return each prompt's seed, too."""
        of_engine = {name: x for name, x in given.items() if name in EngineConfig.model_fields}
        rest = {name: x for name, x in given.items() if name not in of_engine}
        return self.engine(**of_engine), *read_sampling(rest, count)

    def describe(self) -> str:
        """Return one line: size, type, device, context and the methods that reach it."""
        line = f"{count_parameters(self.config):,} parameters, {self._precision()}, "
        line += f"context {self.context:,} tokens"
        if self.context != self.config.train_length:
            line += f" (trained on {self.config.train_length:,})"
        alpha = self.long_context.alpha(self.context, self.config.train_length)
        methods = self.long_context.describe(f"α {alpha} at {self.context:,} tokens")
        return f"{line}: {methods}" if methods else line

    def _precision(self) -> str:
        """Return types and kernels in use, as `bfloat16 on cpu (C++ kernels)`."""
        dtype = str(self.model.embed_tokens.weight.dtype).removeprefix("torch.")
        kinds = {m.bits for m in self.model.modules() if isinstance(m, QuantisedLinear)}
        if kinds:
            widths = " and ".join(f"int{bits}" for bits in sorted(kinds))
            dtype = f"{widths} weights, {dtype} otherwise,"
        if self._device.type != "cpu":
            return f"{dtype} on {self._device}"
        if isinstance(self.model.layers[0], FusedLayer):
            return f"{dtype} on cpu (C++ kernels)"
        why_not = open_kernels()[1]
        return f"{dtype} on cpu (torch's kernels{': ' + why_not if why_not else ''})"

    @property
    def _device(self) -> torch.device:
        return self.model.device

    def _methods(self) -> LongContext:
        return NO_EXTENSION if self.model.training else self.long_context

    def _need_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UserError("this model directory has no tokenizer; give token ids, not text")
        return self.tokenizer


def _all_stop_ids(stop_ids: Sequence[int], tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Return the file's ids; ChatML's besides where the file does not know of chatting."""
    if tokenizer is None or tokenizer.control_tokens.get(IM_END) in stop_ids:
        return tuple(sorted(set(stop_ids)))
    return tuple(sorted({*stop_ids, *tokenizer.stop_ids}))


def _plain_ids(ids: Any) -> list[int]:
    """Return ids of a list, an array or a tensor as plain numbers."""
    return [int(i) for i in (ids.tolist() if hasattr(ids, "tolist") else ids)]
