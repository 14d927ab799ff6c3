"""Held-out loss and bits per byte of each group of documents.

evaluate_groups(model, read_shard(shards, "validation"), token_bytes_V, context_length=256, …)
"""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from openqwen.data.training.shards import TokenShard
from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import sequence_losses
from openqwen.train.engine import Mapper


def evaluate_groups(
    model: Decoder,
    shard: TokenShard,
    token_bytes_V: Tensor,
    *,
    context_length: int,
    max_tokens: int,
    batch_sequences: int,
    workers: Mapper,
) -> dict[str, dict[str, float]]:
    """Score each document group's tokens, cut to windows of the context.

    Bits a byte count the loss of ordinary tokens over the bytes they stand for; control tokens
    have no bytes and are left out of that measure only.

    Returns:
        group -> {"loss": nats a token, "bits_per_byte", "tokens", "bytes"}.
    """
    measures = {}
    device = model.lm_head.weight.device
    for group in sorted({span.group for span in shard.spans}):
        tokens_N = shard.of_group(group)[: max_tokens + 1].astype(np.int64)
        T = min(context_length, len(tokens_N) - 1)
        if T < 1:
            continue
        count = (len(tokens_N) - 1) // T
        inputs_BT = torch.from_numpy(tokens_N[: count * T].reshape(count, T)).to(device)
        targets_BT = torch.from_numpy(tokens_N[1 : count * T + 1].reshape(count, T)).to(device)
        losses = workers.map(
            partial(sequence_losses, model),
            inputs_BT.split(batch_sequences),
            targets_BT.split(batch_sequences),
        )
        losses_N = torch.cat(list(losses)).double().cpu()
        bytes_N = token_bytes_V[targets_BT.flatten().cpu()]
        num_bytes = int(bytes_N.sum())
        bits = float(losses_N[bytes_N > 0].sum()) / math.log(2)
        measures[group] = {
            "loss": round(float(losses_N.mean()), 6),
            "bits_per_byte": round(bits / max(1, num_bytes), 6),
            "tokens": len(losses_N),
            "bytes": num_bytes,
        }
    return measures
