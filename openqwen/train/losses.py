"""Cross-entropy straight from hidden states, without ever holding all logits in float32.

    nll = linear_cross_entropy(hidden_ND, lm_head.weight, targets_N)    # sum over valid targets
    (nll / num_valid_targets).backward()

The vocabulary projection, the softmax and its gradient are worked out chunk by chunk while the
chunk is in cache; the backward pass only scales what the forward pass left. Same values as
`F.cross_entropy(hidden @ weight.T, targets, reduction="sum")` with logits in float32.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from openqwen.model.likelihood import IGNORED, logit_chunks
from openqwen.train.fused_loss import TokenLoss, can_fuse, fused_token_loss

BUFFER_BYTES = 32 << 20  # of logits' gradients that wait for one product with the hidden states


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Return the summed negative log-likelihood of the targets, in nats.

    Args:
        hidden_ND: final hidden states, float32 or bfloat16.
        weight_VD: the output projection, the same type as `hidden_ND`.
        targets_N: ids; `IGNORED` bears no loss.

    Returns:
        () float32. Gradients reach `hidden_ND` and `weight_VD` in their own type; the weight's is
        summed in float32 over the chunks first.
    """
    valid_N = targets_N != IGNORED
    if not bool(valid_N.all()):  # what bears no loss is not projected at all
        hidden_ND, targets_N = hidden_ND[valid_N], targets_N[valid_N]
    return linear_token_loss(hidden_ND, weight_VD, targets_N, _negative)[0]


def linear_token_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, loss_of: TokenLoss
) -> tuple[Tensor, Tensor]:
    """Return the sum of a loss of each target's log-probability, and those log-probabilities.

    Args:
        hidden_ND: final hidden states, float32 or bfloat16.
        weight_VD: the output projection, the same type as `hidden_ND`.
        targets_N: ids, all of them valid.
        loss_of: takes log-probabilities (n,) float32 and which rows they are of; returns each
            one's loss and its slope, the derivative with respect to the log-probability, or None
            where all slopes are -1.

    Returns:
        () float32, differentiable as `linear_cross_entropy`, and (N,) float32, detached.
    """
    if hasattr(weight_VD, "device_mesh"):  # a DTensor: its rows are split over ranks
        from openqwen.parallel.vocabulary import split_token_loss

        return split_token_loss(hidden_ND, weight_VD, targets_N, loss_of)
    if can_fuse(hidden_ND, weight_VD):
        return fused_token_loss(hidden_ND, weight_VD, targets_N, loss_of)
    apply: Callable[..., tuple[Tensor, Tensor]] = _LinearTokenLoss.apply
    return apply(hidden_ND, weight_VD, targets_N, loss_of)


def _negative(log_probs_N: Tensor, rows: slice) -> tuple[Tensor, None]:
    return -log_probs_N, None


class _WeightGradient:
    """The sum over rows of (logits' gradient)ᵀ · hidden state, in float32.

    Rows wait in a buffer until one product takes many of them: of a large vocabulary, adding to the
    sum after each chunk would move more memory than all else.
    """

    def __init__(self, hidden_ND: Tensor, weight_VD: Tensor) -> None:
        """Prepare for the rows of `hidden_ND`, which come in order."""
        V = len(weight_VD)
        rows = max(1, BUFFER_BYTES // (weight_VD.element_size() * V))
        self.hidden_ND = hidden_ND
        self.sum_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        self.waiting_NV = hidden_ND.new_empty(min(rows, len(hidden_ND)), V)
        self.start = self.end = 0  # rows that wait

    def add(self, grad_logits_NV: Tensor, rows: slice) -> Tensor:
        """Take the next rows' gradients, float32; return them in the hidden states' type."""
        if rows.stop - self.start > len(self.waiting_NV):
            self._flush()
        self.end = rows.stop
        place = self.waiting_NV[rows.start - self.start : rows.stop - self.start]
        return place.copy_(grad_logits_NV)

    def total(self) -> Tensor:
        """Return the sum over all rows, (V, D)."""
        self._flush()
        return self.sum_VD

    def _flush(self) -> None:
        waiting_NV = self.waiting_NV[: self.end - self.start]
        self.sum_VD += waiting_NV.T @ self.hidden_ND[self.start : self.end]
        self.start = self.end


class _LinearTokenLoss(torch.autograd.Function):
    """Loss and both gradients in one pass over the rows; the slopes scale the logits' gradient."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, loss_of: TokenLoss
    ) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        log_probs_N = torch.empty(len(targets_N), device=hidden_ND.device)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        to_weight = _WeightGradient(hidden_ND, weight_VD)
        for rows in logit_chunks(len(targets_N), len(weight_VD)):
            logits_NV = (hidden_ND[rows] @ weight_VD.T).float()
            targets_N1 = targets_N[rows][:, None]
            log_sum_N1 = logits_NV.logsumexp(1, keepdim=True)
            log_probs_N[rows] = (logits_NV.gather(1, targets_N1) - log_sum_N1)[:, 0]
            loss_N, slope_N = loss_of(log_probs_N[rows], rows)
            total += loss_N.sum()
            # softmax minus one-hot, in place: minus d log p / d logits
            logits_NV.sub_(log_sum_N1).exp_()
            minus_one = logits_NV.new_full((1, 1), -1.0).expand_as(targets_N1)
            logits_NV.scatter_add_(1, targets_N1, minus_one)
            if slope_N is not None:
                logits_NV.mul_(-slope_N[:, None])
            grad_logits_NV = to_weight.add(logits_NV, rows)
            torch.mm(grad_logits_NV, weight_VD, out=grad_hidden_ND[rows])
        ctx.save_for_backward(grad_hidden_ND, to_weight.total().to(weight_VD.dtype))
        ctx.mark_non_differentiable(log_probs_N)
        return total, log_probs_N

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden_ND, grad_weight_VD = ctx.saved_tensors
        scale = grad.to(grad_hidden_ND.dtype)
        return grad_hidden_ND * scale, grad_weight_VD * scale, None, None
