"""Several replies at once: one right-padded prefill, then one token a row until all are finished.

    results = complete(model, requests, long_context)

Every row is as if alone: positions, α and windows are its own, and rows that finish leave.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.infer.request import Request
from openqwen.model.decoder import Decoder
from openqwen.model.kv_cache import KVCache
from openqwen.model.long_context import LongContext


@torch.no_grad()
def complete(model: Decoder, requests: Sequence[Request], long_context: LongContext) -> None:
    """Carry every request to its end."""
    device = model.lm_head.weight.device
    lengths = [len(request.prompt_ids) for request in requests]
    cache = KVCache(model.config, prompt_lengths=lengths, long_context=long_context)
    ids_BT = pad_right([request.prompt_ids for request in requests]).to(device)
    hidden_BTD = model.hidden(ids_BT, cache=cache, lengths_B=lengths)
    last_BD = hidden_BTD[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    running = list(requests)
    while True:
        logits_BV = model.lm_head(last_BD).to(device="cpu", dtype=torch.float32)
        for request, logits_V in zip(running, logits_BV, strict=True):
            request.push(logits_V)
        rows = [row for row, request in enumerate(running) if request.finish_reason is None]
        if not rows:
            return
        if len(rows) < len(running):
            running = [running[row] for row in rows]
            cache.keep_rows(rows)
        next_B1 = torch.tensor([[request.ids[-1]] for request in running], device=device)
        last_BD = model.hidden(next_B1, cache=cache)[:, -1]


def pad_right(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of ids as one (B, T) tensor, shorter ones padded on the right with 0."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
