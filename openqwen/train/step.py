"""What one optimiser step does with its micro-batches, whatever the objective.

    found, norm = optimise(optimiser, loss_of, micro_batches, learning_rate=1e-4, workers=workers)

`loss_of` is already divided by what the whole step counts (valid tokens, pairs), so that eight
micro-batches of one give the update of one micro-batch of eight.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.profiler import record_function

from openqwen.core.workers import Workers
from openqwen.model.decoder import Decoder
from openqwen.model.layers import Dropout
from openqwen.model.likelihood import IGNORED
from openqwen.parallel.columns import own_columns, sum_over_columns
from openqwen.train.engine import Optimiser
from openqwen.train.losses import linear_cross_entropy

Item = TypeVar("Item")
Found = TypeVar("Found")


def optimise(
    optimiser: Optimiser,
    loss_of: Callable[[Item], tuple[Tensor, Found]],
    micro_batches: Iterable[Item],
    *,
    learning_rate: float,
    workers: Workers,
    accept: Callable[[list[Found], Tensor], bool] | None = None,
) -> tuple[list[Found], Tensor]:
    """Take one step on the sum of the micro-batches' losses.

    Args:
        optimiser: made for the model that `loss_of` runs.
        loss_of: returns a micro-batch's share of the step's loss, () and differentiable in every
            trained parameter, and anything else worth keeping, detached.
        micro_batches: all of the step's, on every rank; their gradients are added in this order,
            so the result does not depend on how many workers there are.
        learning_rate: of this step.
        workers: the threads.
        accept: asked before the update with what was kept and the norm; where it says False the
            gradients are dropped and nothing else changes. Every rank must say the same.

    Returns:
        What `loss_of` kept of each micro-batch, and the gradient norm before clipping, () float32.
    """
    with record_function("forward and backward"):
        kept = optimiser.add_gradients(loss_of, micro_batches, workers)
    asked = None if accept is None else partial(accept, kept)
    with record_function("optimiser"):
        return kept, optimiser.step(learning_rate, workers, accept=asked)


def next_token_loss(
    model: Decoder,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    *,
    segments_BT: Tensor | None = None,
    dropout: Dropout | None = None,
) -> Tensor:
    """Return the summed negative log-likelihood of the targets in nats, () float32.

    Args:
        model: in training mode.
        inputs_BT: token ids.
        targets_BT: next tokens; `IGNORED` bears no loss.
        segments_BT: which text of its row each token belongs to, where rows are packed.
        dropout: of this micro-batch, or None.
    """
    hidden_ND = model.hidden(inputs_BT, segments_BT=segments_BT, dropout=dropout).flatten(0, 1)
    targets_N = own_columns(model, targets_BT).flatten()
    nll = linear_cross_entropy(hidden_ND, model.lm_head.weight, targets_N)
    return sum_over_columns(model, nll)


def next_token_step(
    model: Decoder,
    optimiser: Optimiser,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    *,
    micro_sequences: int,
    learning_rate: float,
    workers: Workers,
    accept: Callable[[Tensor, Tensor], bool] | None = None,
) -> tuple[Tensor, Tensor]:
    """Take one step; return mean loss in nats a token and the gradient norm, both () float32.

    Args:
        model: its parameters are replaced by the optimiser's updated masters.
        optimiser: made for this model.
        inputs_BT: token ids.
        targets_BT: next tokens; `IGNORED` bears no loss.
        micro_sequences: rows a forward pass.
        learning_rate: of this step.
        workers: work on micro-batches at the same time.
        accept: asked before the update with the mean loss and the norm; see `optimise`.
    """
    num_valid = (targets_BT != IGNORED).sum()

    def loss_of(start: int) -> tuple[Tensor, Tensor]:
        rows = slice(start, start + micro_sequences)
        nll = next_token_loss(model, inputs_BT[rows], targets_BT[rows])
        return nll / num_valid, nll.detach()

    def mean(found: list[Tensor]) -> Tensor:
        total = torch.zeros((), device=inputs_BT.device)
        for nll in found:
            total += nll
        return total / num_valid

    found, norm = optimise(
        optimiser,
        loss_of,
        range(0, len(inputs_BT), micro_sequences),
        learning_rate=learning_rate,
        workers=workers,
        accept=None if accept is None else lambda found, norm: accept(mean(found), norm),
    )
    return mean(found), norm
