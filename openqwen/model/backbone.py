"""The body every model shares: embedding, pre-norm layers, final norm (§2.3.1).

    hidden_BTD = model.hidden(ids_BT, long_context=LongContext(ntk=True, logn=True))
    hidden_BTD = model.hidden(packed_BT, segments_BT=segments_BT)        # several texts a row

`Decoder` puts the output projection on it, `Scorer` a single score. Pure torch for one device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openqwen.model.attention import Attention, Placement, SequenceCache
from openqwen.model.config import ModelConfig
from openqwen.model.layers import Dropout, RMSNorm, SwiGLU
from openqwen.model.long_context import NO_EXTENSION, LongContext, logn_scale, ntk_base
from openqwen.model.rope import inverse_frequencies, rotary_tables

PADDING = -1  # segment number of tokens that belong to no text


class DecoderLayer(nn.Module):
    """Attention and feed-forward network, each behind its norm and added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        """Build one layer."""
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x_BTD: Tensor,
        placement: Placement,
        *,
        window: int | None = None,
        cache: SequenceCache | None = None,
        layer: int = 0,
        dropout: Dropout | None = None,
    ) -> Tensor:
        """Return the residual stream after this layer."""
        gathered_BTD = self.attention(
            self.attention_norm(x_BTD), placement, window=window, cache=cache, layer=layer
        )
        x_BTD = x_BTD + (gathered_BTD if dropout is None else dropout(gathered_BTD))
        worked_BTD: Tensor = self.mlp(self.mlp_norm(x_BTD))
        return x_BTD + (worked_BTD if dropout is None else dropout(worked_BTD))


class LayerStack(nn.ModuleList):
    """All layers in order; another way to run them may take its place."""

    def forward(
        self,
        x_BTD: Tensor,
        placement: Placement,
        windows: Sequence[int | None],
        *,
        cache: SequenceCache | None = None,
        dropout: Dropout | None = None,
    ) -> Tensor:
        """Return the residual stream after every layer; `windows` has one entry a layer."""
        for index, (layer, window) in enumerate(zip(self, windows, strict=True)):
            x_BTD = layer(
                x_BTD, placement, window=window, cache=cache, layer=index, dropout=dropout
            )
        return x_BTD


class Backbone(nn.Module):
    """The layers of a Qwen-style model; its parameters are unset until initialised or loaded."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the modules; under `torch.device("meta")` this costs nothing at any size."""
        super().__init__()
        self.config = config
        # not its own constructor: drawing on the meta device imports 800 modules (0.8 s, 70 MB)
        rows_VD = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens: nn.Embedding = nn.Embedding.from_pretrained(rows_VD, freeze=False)
        self.layers = LayerStack(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    @property
    def device(self) -> torch.device:
        """Return where the parameters are."""
        return self.norm.weight.device

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        cache: SequenceCache | None = None,
        long_context: LongContext = NO_EXTENSION,
        lengths_B: Sequence[int] | None = None,
        segments_BT: Tensor | None = None,
        dropout: Dropout | None = None,
    ) -> Tensor:
        """Return the states after the final norm, (B, T, D).

        Args:
            ids_BT: token ids, int64; shorter rows are padded on the right with any id.
            cache: continue these sequences and store the new keys and values; it carries its own
                long-context methods and each row's α.
            long_context: methods for a pass without cache; in training mode none is in force.
            lengths_B: tokens of each row that are not padding; T for every row where None.
            segments_BT: which text of its row each token belongs to, `PADDING` for none; a text's
                tokens stand together. Each text is as if alone, its positions from 0. For passes
                without cache and without methods.
            dropout: applied to the embeddings and to what each layer adds (§3.1).

        Returns:
            Each row up to its length as if it were alone; what stands beyond is undefined.

        Raises:
            ValueError: if both a cache and methods are given, or segments with either.
        """
        batch, width = ids_BT.shape
        if segments_BT is not None and (cache is not None or long_context != NO_EXTENSION):
            raise ValueError("packed texts go without cache and long-context methods")
        lengths = [width] * batch if lengths_B is None else [int(n) for n in lengths_B]
        if cache is None:
            methods = NO_EXTENSION if self.training else long_context
            starts = [0]
            alphas = [methods.alpha(max(n, 1), self.config.train_length) for n in lengths]
        elif long_context != NO_EXTENSION:
            raise ValueError("the cache carries the long-context methods; give one of the two")
        else:
            methods, starts, alphas = cache.long_context, cache.lengths, cache.alphas
        if segments_BT is not None:
            placement = self._packed_placement(segments_BT)
        else:
            placement = self._placement(methods, _shared(starts), _shared(alphas), width)
        windows = methods.windows or [None] * len(self.layers)
        x_BTD = self.embed_tokens(ids_BT)
        if dropout is not None:
            x_BTD = dropout(x_BTD)
        x_BTD = self.layers(x_BTD, placement, windows, cache=cache, dropout=dropout)
        if cache is not None:
            cache.advance(lengths)
        hidden_BTD: Tensor = self.norm(x_BTD)
        return hidden_BTD

    def _packed_placement(self, segments_BT: Tensor) -> Placement:
        """Return rotation tables of positions that restart, and the mask between texts."""
        config = self.config
        columns_T = torch.arange(segments_BT.shape[1], device=segments_BT.device)
        is_first_BT = torch.ones_like(segments_BT, dtype=torch.bool)
        is_first_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
        first_BT = torch.where(is_first_BT, columns_T, 0).cummax(1).values
        inverse_P = inverse_frequencies(
            head_dim=config.head_dim, theta=config.rope_theta, device=segments_BT.device
        )
        cos_BT1P, sin_BT1P = rotary_tables(columns_T - first_BT, inverse_P)
        same_BTS = segments_BT[:, :, None] == segments_BT[:, None, :]
        seen_B1TS = (same_BTS & (columns_T[None, :] <= columns_T[:, None]))[:, None]
        return Placement(cos_BT1P, sin_BT1P, None, (0,), seen_B1TS)

    def _placement(
        self, methods: LongContext, starts: list[int], alphas: list[int], width: int
    ) -> Placement:
        """Return rotation tables and LogN factors of the next `width` tokens of each row."""
        config, device = self.config, self.device
        positions_BT = torch.arange(width, device=device)[None, :]
        if starts != [0]:
            positions_BT = positions_BT + torch.tensor(starts, device=device)[:, None]
        inverse_BP = torch.stack(
            [
                inverse_frequencies(
                    head_dim=config.head_dim,
                    theta=ntk_base(config.rope_theta, alpha, head_dim=config.head_dim),
                    device=device,
                )
                for alpha in alphas
            ]
        )
        cos_BT1P, sin_BT1P = rotary_tables(positions_BT, inverse_BP)
        scale_BT11 = None
        if methods.logn and max(starts) + width > config.train_length:
            scale_BT = logn_scale(positions_BT, train_length=config.train_length)
            scale_BT11 = scale_BT[:, :, None, None]
        return Placement(cos_BT1P, sin_BT1P, scale_BT11, tuple(starts))


def _shared(values: list[int]) -> list[int]:
    """Return one value where all rows have the same, so that tables and masks are built once."""
    return values[:1] if len(set(values)) == 1 else values
