"""One sequence fed token by token, with its own cache and its own α.

    session = Session(model, ids, LongContext(ntk=True, logn=True))
    logits_V = session.step(token)

Sessions of one model share nothing but its weights, so they may be interleaved.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.kv_cache import KVCache
from openqwen.model.long_context import LongContext

# tokens of a prompt at a time: what stands between layers stays in reused memory (2,048 at once
# were a seventh slower), and a long prompt needs no more of it than a short one
PREFILL_CHUNK = 512


class Session:
    """A sequence in progress.

    Attributes:
        ids: the tokens fed so far.
        logits: (V,) float32 on the model's device, scores of the token after the last one fed.
    """

    def __init__(self, model: Decoder, ids: Sequence[int], long_context: LongContext) -> None:
        """Feed the prompt; its length fixes α, for the life of the session or to its next step.

        Args:
            model: in evaluation mode.
            ids: the prompt.
            long_context: with `recompute`, all tokens are fed again where α steps, so that `logits`
                are always those of one prefill.

        Raises:
            ValueError: if there is no token.
        """
        if not ids:
            raise ValueError("a session starts with at least one token, got none")
        self.ids: list[int] = []
        self._model = model
        self._long_context = long_context
        self.logits = self._begin(list(ids))

    @property
    def alpha(self) -> int:
        """Return dynamic NTK's α of this sequence."""
        return self._cache.alphas[0]

    def step(self, token: int) -> Tensor:
        """Feed one token; return the new `logits`."""
        if self._step_at is not None and len(self.ids) + 1 >= self._step_at:
            self.logits = self._begin([*self.ids, int(token)])
        else:
            self.logits = self._feed([int(token)])
        return self.logits

    def _begin(self, ids: list[int]) -> Tensor:
        """Feed a whole sequence into an empty cache, at the α of its length."""
        check_ids(ids, self._model.config.vocab_size)
        methods, train_length = self._long_context, self._model.config.train_length
        self.ids = []
        self._step_at = methods.recompute_at(len(ids), train_length)
        self._cache = KVCache(self._model.config, prompt_lengths=[len(ids)], long_context=methods)
        return self._feed(ids)

    @torch.no_grad()
    def _feed(self, ids: list[int]) -> Tensor:
        check_ids(ids, self._model.config.vocab_size)
        for begin in range(0, len(ids), PREFILL_CHUNK):
            chunk_BT = torch.tensor([ids[begin : begin + PREFILL_CHUNK]], device=self._model.device)
            hidden_BTD = self._model.hidden(chunk_BT, cache=self._cache)
        self.ids += ids
        logits_V: Tensor = self._model.lm_head(hidden_BTD[0, -1])
        return logits_V.to(torch.float32)


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Raise ValueError for the first id without an embedding row."""
    bad = next((i for i in ids if not 0 <= i < vocab_size), None)
    if bad is not None:
        raise ValueError(f"id {bad} is outside the vocabulary of {vocab_size:,} rows")
