"""Several replies at once: one right-padded prefill, then one token a row until all are finished.

    decode(model, prompts, choose, long_context)        # `choose` looks at all rows' logits at once

Every row is as if alone: positions, α and windows are its own, and rows that finish leave.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.kv_cache import KVCache
from openqwen.model.long_context import NO_EXTENSION, LongContext

# takes which rows still run and their logits (rows, V); returns each one's next token, None to end
Choose = Callable[[list[int], Tensor], Sequence[int | None]]


@torch.no_grad()
def decode(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    choose: Choose,
    long_context: LongContext = NO_EXTENSION,
) -> None:
    """Feed the prompts, then whatever `choose` picks, until it ends every row."""
    device = model.device
    lengths = [len(prompt) for prompt in prompts]
    cache = KVCache(model.config, prompt_lengths=lengths, long_context=long_context)
    hidden_BTD = model.hidden(pad_right(prompts).to(device), cache=cache, lengths_B=lengths)
    last_BD = hidden_BTD[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    running = list(range(len(prompts)))
    while True:
        tokens = choose(running, model.lm_head(last_BD))
        rows = [row for row, token in enumerate(tokens) if token is not None]
        if not rows:
            return
        if len(rows) < len(running):
            running = [running[row] for row in rows]
            cache.keep_rows(rows)
        next_B1 = torch.tensor([[tokens[row]] for row in rows], device=device)
        last_BD = model.hidden(next_B1, cache=cache)[:, -1]


def pad_right(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of ids as one (B, T) tensor, shorter ones padded on the right with 0."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
