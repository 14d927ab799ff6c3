"""Reward and value models: the layers with one score a token on top (§3.2.1).

    scorer = scorer_from(decoder, seed=0)
    reward_B = scorer.scores(ids_BT, lengths_B=[31, 18])          # at each row's last token
    value_BT = scorer.values(ids_BT, segments_BT=segments_BT)

A reward is read at one token only, the one that ends the reply; a value at every token.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from openqwen.model.backbone import Backbone
from openqwen.model.config import ModelConfig


class Scorer(Backbone):
    """A model that scores instead of writing; the head's weight is (1, D), without a bias."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the modules."""
        super().__init__(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    def values(self, ids_BT: Tensor, **options: Any) -> Tensor:
        """Return the score at every token, (B, T) float32; the options are those of `hidden`."""
        return self.read(self.hidden(ids_BT, **options))

    def scores(
        self, ids_BT: Tensor, *, lengths_B: Sequence[int] | None = None, **options: Any
    ) -> Tensor:
        """Return the score at each row's last token, (B,) float32.

        Args:
            ids_BT: token ids, shorter rows padded on the right.
            lengths_B: tokens of each row that are not padding; T for every row where None.
            options: as in `hidden`.
        """
        batch, width = ids_BT.shape
        last = [n - 1 for n in lengths_B] if lengths_B is not None else [width - 1] * batch
        hidden_BTD = self.hidden(ids_BT, lengths_B=lengths_B, **options)
        rows = torch.arange(batch, device=ids_BT.device)
        return self.read(hidden_BTD[rows, torch.tensor(last, device=ids_BT.device)])

    def read(self, hidden: Tensor) -> Tensor:
        """Return the score of each state (..., D), float32; the sum is taken in float32."""
        return hidden.float() @ self.score.weight[0].float()


def scorer_from(body: Backbone, *, seed: int) -> Scorer:
    """Return a scorer with a copy of another model's layers and a fresh head.

    The head is drawn from normal(0, 1/sqrt(D + 1)) by `seed` (Stiennon et al. 2020); a body that
    is a scorer itself gives its head, too.
    """
    config = body.config
    scorer = empty_scorer(config, dtype=body.embed_tokens.weight.dtype, device=_device(body))
    generator = torch.Generator().manual_seed(seed)
    head = torch.empty(1, config.hidden_size).normal_(
        0.0, (config.hidden_size + 1) ** -0.5, generator=generator
    )
    theirs = {"score.weight": head} | dict(body.named_parameters())
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            parameter.copy_(theirs[name])
    return scorer


def empty_scorer(
    config: ModelConfig, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Scorer:
    """Return a scorer whose memory is there and not yet filled."""
    with torch.device("meta"):
        scorer = Scorer(config).to(dtype)
    return scorer.to_empty(device=device)


def _device(body: Backbone) -> torch.device:
    return body.embed_tokens.weight.device
