"""The decoder: embedding, pre-norm layers, final norm, output projection (§2.3.1).

    model = new_decoder(config, seed=0)
    logits_BTV = model(ids_BT)                                   # training: plain causal attention
    hidden_BTD = model.hidden(ids_BT, long_context=LongContext(ntk=True, logn=True))

Pure torch for one device; one definition serves Qwen-1, Qwen2 and Llama checkpoints.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openqwen.model.attention import Attention, Placement
from openqwen.model.config import ModelConfig
from openqwen.model.kv_cache import KVCache
from openqwen.model.layers import RMSNorm, SwiGLU
from openqwen.model.long_context import NO_EXTENSION, LongContext, logn_scale, ntk_base
from openqwen.model.rope import inverse_frequencies, rotary_tables

INITIALIZER_RANGE = 0.02  # [code]


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
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Return the residual stream after this layer."""
        x_BTD = x_BTD + self.attention(
            self.attention_norm(x_BTD), placement, window=window, cache=cache, layer=layer
        )
        out_BTD: Tensor = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return out_BTD


class Decoder(nn.Module):
    """A Qwen-style language model; its parameters are unset until initialised or loaded."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the modules; under `torch.device("meta")` this costs nothing at any size."""
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the output projection the embedding itself where the config ties them."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(
        self,
        ids_BT: Tensor,
        *,
        cache: KVCache | None = None,
        long_context: LongContext = NO_EXTENSION,
        lengths_B: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the logits of every position, (B, T, V); the arguments are those of `hidden`."""
        hidden_BTD = self.hidden(
            ids_BT, cache=cache, long_context=long_context, lengths_B=lengths_B
        )
        logits_BTV: Tensor = self.lm_head(hidden_BTD)
        return logits_BTV

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        cache: KVCache | None = None,
        long_context: LongContext = NO_EXTENSION,
        lengths_B: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the states after the final norm, (B, T, D).

        Args:
            ids_BT: token ids, int64; shorter rows are padded on the right with any id.
            cache: continue these sequences and store the new keys and values; it carries its own
                long-context methods and each row's α.
            long_context: methods for a pass without cache; in training mode none is in force.
            lengths_B: tokens of each row that are not padding; T for every row where None.

        Returns:
            Each row up to its length as if it were alone; what stands beyond is undefined.

        Raises:
            ValueError: if both a cache and methods are given.
        """
        batch, width = ids_BT.shape
        lengths = [width] * batch if lengths_B is None else [int(n) for n in lengths_B]
        if cache is None:
            methods = NO_EXTENSION if self.training else long_context
            starts = [0]
            alphas = [methods.alpha(max(n, 1), self.config.train_length) for n in lengths]
        elif long_context != NO_EXTENSION:
            raise ValueError("the cache carries the long-context methods; give one of the two")
        else:
            methods, starts, alphas = cache.long_context, cache.lengths, cache.alphas
        placement = self._placement(methods, _shared(starts), _shared(alphas), width)
        windows = methods.windows or [None] * len(self.layers)
        x_BTD = self.embed_tokens(ids_BT)
        for index, (layer, window) in enumerate(zip(self.layers, windows, strict=True)):
            x_BTD = layer(x_BTD, placement, window=window, cache=cache, layer=index)
        if cache is not None:
            cache.advance(lengths)
        hidden_BTD: Tensor = self.norm(x_BTD)
        return hidden_BTD

    def _placement(
        self, methods: LongContext, starts: list[int], alphas: list[int], width: int
    ) -> Placement:
        """Return rotation tables and LogN factors of the next `width` tokens of each row."""
        config, device = self.config, self.embed_tokens.weight.device
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


def new_decoder(
    config: ModelConfig,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Decoder:
    """Return a model with random weights that depend on the shape and the seed alone."""
    model = empty_decoder(config, dtype=dtype, device=device)
    initialise(model, seed=seed)
    return model


def empty_decoder(
    config: ModelConfig, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Decoder:
    """Return a model whose memory is there and not yet filled."""
    with torch.device("meta"):
        model = Decoder(config).to(dtype)
    model.to_empty(device=device)
    model.tie_weights()  # moving off the meta device parts what was tied
    return model


@torch.no_grad()
def initialise(model: Decoder, *, seed: int) -> None:
    """Fill the weights: normal(0, 0.02), norms 1, biases 0; residual outputs divided by sqrt(2L).

    The division keeps the residual stream's size independent of depth (GPT-2; ours here, the
    report gives no initialisation). Drawn in float32 on the CPU from one generator, in the order of
    the parameters, so the same seed gives the same weights on every device and in every type.
    """
    generator = torch.Generator().manual_seed(seed)
    residual = INITIALIZER_RANGE / math.sqrt(2 * model.config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        std = residual if name.endswith(("attention.out.weight", "mlp.down.weight")) else None
        draw = torch.empty(parameter.shape, dtype=torch.float32)
        parameter.copy_(draw.normal_(0.0, std or INITIALIZER_RANGE, generator=generator))
