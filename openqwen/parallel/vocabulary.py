"""Cross-entropy where each rank holds a part of the vocabulary's rows (Shoeybi et al. 2019, §3).

    total, log_probs_N = split_token_loss(hidden_ND, lm_head.weight, targets_N, loss_of)

Every rank holds the same states and projects them to its own rows. Of each row of logits only two
numbers travel, the logarithm of the sum of exponentials and the target's logit; of the gradient one
all-reduce of (N, D). No rank ever holds all logits, nor its own of all tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Shard

from openqwen.model.likelihood import IGNORED, LOG_PROBS_OF

BLOCK_BYTES = 32 << 20  # float32 logits a rank holds at once; one exchange a block

TokenLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor | None]]


def split_token_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, loss_of: TokenLoss
) -> tuple[Tensor, Tensor]:
    """Return the sum of a loss of each target's log-probability, and those log-probabilities.

    Args:
        hidden_ND: final hidden states, the same on every rank of the weight's axis.
        weight_VD: the output projection, a DTensor whose rows are split evenly over one axis.
        targets_N: ids, all of them valid, the same on every rank.
        loss_of: as `openqwen.train.losses.linear_token_loss` takes it.

    Returns:
        () float32 and (N,) float32, detached; the same bits on every rank. The gradient of the
        states is the whole one on every rank, that of the weight is each rank's own.
    """
    assert isinstance(weight_VD, DTensor), "a plain weight needs no exchange"
    apply: Callable[..., tuple[Tensor, Tensor]] = _SplitTokenLoss.apply
    own_VD = weight_VD.to_local()
    return apply(hidden_ND, own_VD, targets_N, loss_of, _group_of(weight_VD))


@torch.no_grad()
def split_log_probs(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability and its distribution's entropy, in nats, (N,) float32.

    Args:
        hidden_ND: final hidden states, the same on every rank of the weight's axis.
        weight_VD: the output projection, a DTensor whose rows are split evenly over one axis.
        targets_N: ids; for `IGNORED` the values mean nothing.
    """
    assert isinstance(weight_VD, DTensor), "a plain weight needs no exchange"
    group, own_VD = _group_of(weight_VD), weight_VD.to_local()
    log_probs_N = torch.empty(len(targets_N), device=hidden_ND.device)
    entropy_N = torch.empty_like(log_probs_N)
    for rows in _blocks(len(targets_N), len(own_VD)):
        logits_NV = (hidden_ND[rows] @ own_VD.T).float()
        log_sum_N = logits_NV.logsumexp(1)
        places_N, is_own_N = _own_places(targets_N[rows], len(own_VD), group)
        picked_N = logits_NV.gather(1, places_N[:, None])[:, 0] * is_own_N
        mean_N = (torch.softmax(logits_NV, 1) * logits_NV).sum(1)
        log_sum_RN, picked_RN, mean_RN = _gather(group, log_sum_N, picked_N, mean_N)
        total_N = log_sum_RN.logsumexp(0)
        log_probs_N[rows] = picked_RN.sum(0) - total_N
        entropy_N[rows] = total_N - ((log_sum_RN - total_N).exp() * mean_RN).sum(0)
    return log_probs_N, entropy_N


def serve_split_vocabularies() -> None:
    """Let `openqwen.model.likelihood` score with a weight that is split over ranks."""
    LOG_PROBS_OF[DTensor] = split_log_probs


class _SplitTokenLoss(torch.autograd.Function):
    """Loss and both gradients in one pass over the rows, as the loss of one process has it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        own_VD: Tensor,
        targets_N: Tensor,
        loss_of: TokenLoss,
        group: ProcessGroup,
    ) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        log_probs_N = torch.empty(len(targets_N), device=hidden_ND.device)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_own_VD = torch.zeros_like(own_VD, dtype=torch.float32)
        for rows in _blocks(len(targets_N), len(own_VD)):
            logits_NV = (hidden_ND[rows] @ own_VD.T).float()
            places_N, is_own_N = _own_places(targets_N[rows], len(own_VD), group)
            picked_N = logits_NV.gather(1, places_N[:, None])[:, 0] * is_own_N
            log_sum_RN, picked_RN = _gather(group, logits_NV.logsumexp(1), picked_N)
            log_sum_N = log_sum_RN.logsumexp(0)
            log_probs_N[rows] = picked_RN.sum(0) - log_sum_N  # all but one rank picked 0
            loss_N, slope_N = loss_of(log_probs_N[rows], rows)
            total += loss_N.sum()
            # softmax minus one-hot, in place: minus d log p / d logits
            logits_NV.sub_(log_sum_N[:, None]).exp_()
            logits_NV.scatter_add_(1, places_N[:, None], -is_own_N.float()[:, None])
            if slope_N is not None:
                logits_NV.mul_(-slope_N[:, None])
            grad_logits_NV = logits_NV.to(hidden_ND.dtype)
            torch.mm(grad_logits_NV, own_VD, out=grad_hidden_ND[rows])
            grad_own_VD += grad_logits_NV.T @ hidden_ND[rows]
        distributed.all_reduce(grad_hidden_ND, group=group)
        ctx.save_for_backward(grad_hidden_ND, grad_own_VD.to(own_VD.dtype))
        ctx.mark_non_differentiable(log_probs_N)
        return total, log_probs_N

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden_ND, grad_own_VD = ctx.saved_tensors
        scale = grad.to(grad_hidden_ND.dtype)
        return grad_hidden_ND * scale, grad_own_VD * scale, None, None, None


def _blocks(num_rows: int, own_rows: int) -> list[slice]:
    rows = max(1, BLOCK_BYTES // (4 * own_rows))
    return [slice(start, min(start + rows, num_rows)) for start in range(0, num_rows, rows)]


def _own_places(targets_N: Tensor, own_rows: int, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    """Return the targets' rows in this rank's part, any row where not in it, and which are."""
    places_N = targets_N.clamp_min(0) - group.rank() * own_rows
    is_own_N = (places_N >= 0) & (places_N < own_rows) & (targets_N != IGNORED)
    return places_N.clamp(0, own_rows - 1), is_own_N


def _gather(group: ProcessGroup, *parts_N: Tensor) -> list[Tensor]:
    """Return each of these from every rank, (R, n), in one exchange."""
    own = torch.stack(parts_N)
    every = own.new_empty(group.size() * len(own), own.shape[1])
    distributed.all_gather_into_tensor(every, own, group=group)
    return list(every.view(group.size(), *own.shape).unbind(1))


def _group_of(weight_VD: DTensor) -> ProcessGroup:
    assert weight_VD.placements == (Shard(0),), "the vocabulary is split over one axis"
    return weight_VD.device_mesh.get_group()
