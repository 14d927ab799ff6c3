"""A model of ours as the model of the field's harness (lm-evaluation-harness).

    model = HarnessModel(lm, LocalModel(lm, "runs/tiny/base"), Responses(path), is_chat=False)
    lm_eval.evaluator.evaluate(model, task_dict)

Log-likelihoods come from `Scorer`, replies from the engine, both as they are finished into
`Responses`: a killed run computes only what is missing. Needs `pip install openqwen[eval]`; import
this file only where the harness runs.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from openqwen.agent.models import LocalModel, Prompt, Reply, TextModel
from openqwen.core.errors import UserError
from openqwen.core.log import Progress, warn
from openqwen.eval.harness.generation import Generation, generate_all, read_generation
from openqwen.eval.harness.prompts import Chats, Pair, encode_chat_pair, encode_pair
from openqwen.eval.responses import Remembering, Responses
from openqwen.eval.scoring.scorer import Scored, Scorer
from openqwen.infer.load import LanguageModel
from openqwen.tokenizer.template import chat_template
from openqwen.tokenizer.tokenizer import Tokenizer

KEEP_S = 5.0  # how much work a kill may cost
ENDPOINT_BATCH = 64


class HarnessModel(LM):  # type: ignore[misc]
    """Answers the harness's requests.

    Attributes:
        chats: how conversations go through the harness.
        num_cut: prompts that were cut from the left, as they were too long.
    """

    def __init__(
        self, lm: LanguageModel | None, model: TextModel, responses: Responses, is_chat: bool
    ) -> None:
        """Take a model and where its responses are kept; `lm` is None for an endpoint."""
        super().__init__()
        self.chats, self.is_chat = Chats(), is_chat
        self._lm, self._asked, self._store = lm, model, responses
        self._model = model.model if isinstance(model, Remembering) else model
        self._scorer = None if lm is None else Scorer(lm)
        self._identity = model.name if lm is None else identity_of(lm, model.name)
        self.num_cut = 0

    @property
    def tokenizer_name(self) -> str:
        """Return what tells requests made for this model from others'."""
        return self._identity

    def chat_template(self, chat_template_name: bool | str = False) -> str:
        """Return the template that conversations are rendered by, for the record."""
        return chat_template() if chat_template_name else ""

    def apply_chat_template(
        self, chat_history: Sequence[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return a conversation as a text of ours; without a generation prompt it is continued."""
        messages = list(chat_history)
        if not add_generation_prompt and messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": ""})
        return self.chats.write(messages)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[Any]:
        """Return the log-likelihood of each continuation and whether it is the greedy one.

        Raises:
            UserError: if the model is an endpoint.
        """
        self._need_lm()
        pairs = [self._pair(*request.args) for request in requests]
        return [
            (scored.logprob, scored.is_greedy) for scored in self._score("loglikelihood", pairs)
        ]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Return each text's log-likelihood, in windows of the model's context.

        Raises:
            UserError: if the model is an endpoint.
        """
        lm, tokenizer = self._need_lm()
        pairs: list[Pair] = []
        counts = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=tokenizer.encode(request.args[0]),
                prefix_token=tokenizer.eos_id,
                max_seq_len=lm.context,
                context_len=1,
            )
            found = [make_disjoint_window(window) for window in windows]
            pairs += found
            counts.append(len(found))
        scored = iter(self._score("rolling", pairs))
        return [sum(next(scored).logprob for _ in range(count)) for count in counts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return a reply to each context, without the text that ended it.

        A request that stands there several times is drawn several times, where it is drawn at all.
        """
        asked = [read_generation(request.args[1]) for request in requests]
        seeds, seen = [], Counter[str]()
        for request, generation in zip(requests, asked, strict=True):
            name = repr((request.args[0], generation))
            seeds.append(seen[name] if generation.temperature > 0 else 0)
            seen[name] += 1
        texts = [""] * len(requests)
        for generation in dict.fromkeys(asked):
            chosen = [i for i, one in enumerate(asked) if one == generation]
            contexts = [requests[i].args[0] for i in chosen]
            replies = self._generate(contexts, generation, [seeds[i] for i in chosen])
            for i, text in zip(chosen, replies, strict=True):
                texts[i] = text
        return texts

    def _need_lm(self) -> tuple[LanguageModel, Tokenizer]:
        if self._lm is None:
            raise UserError(
                f"{self._model.name} gives replies, no log-likelihoods: this task needs a model "
                "that is loaded here (a directory or a GGUF file)"
            )
        if self._lm.tokenizer is None:
            raise UserError(f"{self._model.name} has no tokenizer: it can't read a task's texts")
        return self._lm, self._lm.tokenizer

    def _pair(self, context: str, continuation: str) -> Pair:
        tokenizer = self._need_lm()[1]
        messages = self.chats.read(context)
        if messages is None:
            return encode_pair(tokenizer, context, continuation)
        assert isinstance(self._model, LocalModel), "a loaded model renders conversations"
        return encode_chat_pair(self._model, messages, continuation)

    def _score(self, kind: str, pairs: Sequence[Pair]) -> list[Scored]:
        """Return scores, those that are not kept computed together and kept on the way."""
        assert self._scorer is not None
        keys = [self._store.key(kind, self._identity, *pair) for pair in pairs]
        missing = {
            key: pair
            for key, pair in zip(keys, pairs, strict=True)
            if self._store.find(key) is None
        }
        names = list(missing)
        before = self._scorer.num_cut
        with _Keeping(self._store, "texts", len(set(keys)), len(missing)) as keeping:
            for finished in self._scorer.stream(list(missing.values())):
                keeping.add((names[i], asdict(scored)) for i, scored in finished)
        self._tell_cut(self._scorer.num_cut - before)
        return [Scored(**self._store.find(key)) for key in keys]

    def _generate(
        self, contexts: Sequence[str], asked: Generation, seeds: Sequence[int]
    ) -> list[str]:
        prompts: list[Prompt] = [
            text if messages is None else messages
            for text, messages in ((text, self.chats.read(text)) for text in contexts)
        ]
        if self._lm is None:
            return self._ask(prompts, asked, seeds)
        assert isinstance(self._model, LocalModel), "a loaded model generates here"
        room = self._lm.context - asked.max_new_tokens
        if room < 1:
            raise UserError(
                f"{asked.max_new_tokens:,} new tokens leave no room for a prompt in the model's "
                f"context of {self._lm.context:,}"
            )
        whole = [self._model.encode(prompt) for prompt in prompts]
        self._tell_cut(sum(len(ids) > room for ids in whole))
        ids = [one[-room:] for one in whole]
        keys = [
            self._store.key("generate", self._identity, one, asdict(asked), seed)
            for one, seed in zip(ids, seeds, strict=True)
        ]
        places = {key: i for i, key in enumerate(keys) if self._store.find(key) is None}
        names, chosen = list(places), list(places.values())
        with _Keeping(self._store, "replies", len(set(keys)), len(chosen)) as keeping:
            found = generate_all(
                self._lm, [ids[i] for i in chosen], asked, [seeds[i] for i in chosen]
            )
            for place, result in found:
                reply = Reply(
                    result.text,
                    result.finish_reason,
                    result.stop,
                    result.num_prompt_tokens,
                    result.num_new_tokens,
                )
                keeping.add([(names[place], asdict(reply))])
        return [self._store.find(key)["text"] for key in keys]

    def _ask(self, prompts: Sequence[Prompt], asked: Generation, seeds: Sequence[int]) -> list[str]:
        """Ask an endpoint; `Remembering` keeps its replies."""
        model = self._asked
        if not isinstance(model, Remembering):
            model = Remembering(model, self._store)
        if asked.temperature == 0:
            return [reply.text for reply in model.reply(prompts, asked.options(0))]
        return [
            model.reply([prompt], asked.options(seed))[0].text
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def _tell_cut(self, count: int) -> None:
        if count:
            self.num_cut += count
            warn(f"{count:,} prompts were cut from the left to the model's context")


class _Keeping:
    """Keeps values every few seconds, and shows how far it is."""

    def __init__(self, store: Responses, unit: str, total: int, missing: int) -> None:
        self._store, self._waiting = store, list[tuple[str, Any]]()
        self._missing, self._kept_at = missing, time.monotonic()
        self._progress = Progress("harness", total=total, unit=unit, done=total - missing)

    def add(self, values: Iterable[tuple[str, Any]]) -> None:
        """Take values by key."""
        before = len(self._waiting)
        self._waiting += values
        self._progress.advance(len(self._waiting) - before)
        if time.monotonic() - self._kept_at > KEEP_S:
            self._keep()

    def __enter__(self) -> "_Keeping":
        return self

    def __exit__(self, *_: object) -> None:
        self._keep()
        if self._missing:
            self._progress.close()

    def _keep(self) -> None:
        self._store.keep_all(self._waiting)
        self._waiting, self._kept_at = [], time.monotonic()


def identity_of(lm: LanguageModel, name: str) -> str:
    """Return a text that another model, or this one loaded otherwise, does not have.

    It holds the name, what `describe` says (size, type, context, methods) and a hash of some
    numbers of each weight.
    """
    digest = hashlib.sha256()
    for tensor in (*lm.model.parameters(), *lm.model.buffers()):
        flat = tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // 16)][:16]
        digest.update(some.to("cpu", torch.float32).numpy().tobytes())
    return f"{name}, {lm.describe()}, weights {digest.hexdigest()[:16]}"
