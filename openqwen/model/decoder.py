"""The language model: the layers with the output projection on top (§2.3.1).

    model = new_decoder(config, seed=0)
    logits_BTV = model(ids_BT)                                   # training: plain causal attention
    hidden_BTD = model.hidden(ids_BT, long_context=LongContext(ntk=True, logn=True))

One definition serves Qwen-1, Qwen2 and Llama checkpoints.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from openqwen.model.attention import SequenceCache
from openqwen.model.backbone import Backbone
from openqwen.model.config import ModelConfig
from openqwen.model.long_context import NO_EXTENSION, LongContext

INITIALIZER_RANGE = 0.02  # [code]


class Decoder(Backbone):
    """A Qwen-style language model; its parameters are unset until initialised or loaded."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the modules; under `torch.device("meta")` this costs nothing at any size."""
        super().__init__(config)
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
        cache: SequenceCache | None = None,
        long_context: LongContext = NO_EXTENSION,
        lengths_B: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the logits of every position, (B, T, V); the arguments are those of `hidden`."""
        hidden_BTD = self.hidden(
            ids_BT, cache=cache, long_context=long_context, lengths_B=lengths_B
        )
        logits_BTV: Tensor = self.lm_head(hidden_BTD)
        return logits_BTV


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
    """Fill the weights with what `draw_weights` draws."""
    for (_, parameter), (_, draw) in zip(
        model.named_parameters(), draw_weights(model, seed=seed), strict=True
    ):
        parameter.copy_(draw)


def draw_weights(model: Decoder, *, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter's name and first value, one after the other: nothing else is held.

    Normal(0, 0.02), norms 1, biases 0; residual outputs divided by sqrt(2L), which keeps the
    residual stream's size independent of depth (GPT-2; ours here, the report gives no
    initialisation). Drawn in float32 on the CPU from one generator, in the order of the
    parameters, so the same seed gives the same weights on every device and in every type.

    Args:
        model: only names and shapes are read; it may be on the meta device.
        seed: of all draws.
    """
    generator = torch.Generator().manual_seed(seed)
    residual = INITIALIZER_RANGE / math.sqrt(2 * model.config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        draw = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
        if parameter.ndim == 1:
            yield name, draw.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        std = residual if name.endswith(("attention.out.weight", "mlp.down.weight")) else None
        yield name, draw.normal_(0.0, std or INITIALIZER_RANGE, generator=generator)
