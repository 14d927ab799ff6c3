"""What one optimiser step does with a batch, for any next-token objective.

Loss is normalised by the batch's count of valid targets, across micro-batches, so that eight
micro-batches of one give the update of one micro-batch of eight.
"""

import torch
from torch import Tensor

from openqwen.core.workers import Workers
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
    workers: Workers,
) -> tuple[Tensor, Tensor]:
    """Take one step; return mean loss in nats a token and the gradient norm, both () float32.

    Args:
        model: its parameters are replaced by the optimiser's updated masters.
        optimiser: made for this model.
        inputs_BT: token ids.
        targets_BT: next tokens; `IGNORED` bears no loss.
        micro_sequences: rows a forward pass.
        learning_rate: of this step.
        workers: work on micro-batches at the same time; their gradients are added in the order of
            the batch, so the result does not depend on how many there are.
    """
    num_valid = (targets_BT != IGNORED).sum()
    parameters = list(model.parameters())

    def gradients(start: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows = slice(start, start + micro_sequences)
        hidden_ND = model.hidden(inputs_BT[rows]).flatten(0, 1)
        nll = linear_cross_entropy(hidden_ND, model.lm_head.weight, targets_BT[rows].flatten())
        return nll.detach(), torch.autograd.grad(nll / num_valid, parameters)

    total = torch.zeros((), device=inputs_BT.device)
    for nll, grads in workers.map(gradients, range(0, len(inputs_BT), micro_sequences)):
        total += nll
        optimiser.accumulate(grads)
    norm = optimiser.step(learning_rate)
    return total / num_valid, norm
