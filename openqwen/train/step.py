"""What one optimiser step does with a batch, for any next-token objective.

Loss is normalised by the batch's count of valid targets, across micro-batches, so that eight
micro-batches of one give the update of one micro-batch of eight.
"""

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import IGNORED
from openqwen.train.losses import linear_cross_entropy
from openqwen.train.optimiser import MasterAdamW


def next_token_step(
    model: Decoder,
    optimiser: MasterAdamW,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    *,
    micro_sequences: int,
    learning_rate: float,
) -> tuple[Tensor, Tensor]:
    """Take one step; return mean loss in nats a token and the gradient norm, both () float32.

    Args:
        model: its parameters are replaced by the optimiser's updated masters.
        optimiser: made for this model.
        inputs_BT: token ids.
        targets_BT: next tokens; `IGNORED` bears no loss.
        micro_sequences: rows a forward pass.
        learning_rate: of this step.
    """
    num_valid = (targets_BT != IGNORED).sum()
    total = torch.zeros((), device=inputs_BT.device)
    for start in range(0, len(inputs_BT), micro_sequences):
        rows = slice(start, start + micro_sequences)
        hidden_BTD = model.hidden(inputs_BT[rows])
        nll = linear_cross_entropy(
            hidden_BTD.flatten(0, 1), model.lm_head.weight, targets_BT[rows].flatten()
        )
        (nll / num_valid).backward()
        optimiser.accumulate()
        total += nll.detach()
    norm = optimiser.step(learning_rate)
    return total / num_valid, norm
