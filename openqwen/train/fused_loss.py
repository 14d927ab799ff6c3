"""Cross-entropy from bf16 hidden states on the CPU: logits are bf16 as the product leaves them.

    if can_fuse(hidden_ND, weight_VD): return fused_token_loss(hidden_ND, weight_VD, …)

One pass of C++ over a chunk of logits takes maximum, sum and the targets' log-probabilities, one
more puts the gradient in their place. The rows' gradients wait, as many as fit, for one product
with the hidden states.
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode

from openqwen.train.kernels import ops

CHUNK_BYTES = 32 << 20  # of logits that one product writes: what a last-level cache takes
LEAST_ROWS = 128  # of a chunk: below, the product spends its time on arranging the weights
BUFFER_BYTES = 160 << 20  # of logits' gradients that wait

TokenLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor | None]]

_kept = threading.local()  # a thread's buffer: fresh memory costs as much as filling it


def can_fuse(hidden_ND: Tensor, weight_VD: Tensor) -> bool:
    """Return whether the kernels can do it: both bf16, on the CPU, in memory of their own.

    A kernel takes addresses: tensors that only pretend to have memory (fake ones, wrappers) have
    none, and where such a mode is on, results would have none.
    """
    return (
        all(type(tensor) in (Tensor, nn.Parameter) for tensor in (hidden_ND, weight_VD))
        and detect_fake_mode() is None
        and hidden_ND.dtype == weight_VD.dtype == torch.bfloat16
        and hidden_ND.device.type == "cpu"
        and weight_VD.is_contiguous()
        and ops.kernels_are_open()
    )


def fused_token_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, loss_of: TokenLoss
) -> tuple[Tensor, Tensor]:
    """Do what `linear_token_loss` does; the same arguments and results."""
    apply: Callable[..., tuple[Tensor, Tensor]] = _FusedTokenLoss.apply
    return apply(hidden_ND.contiguous(), weight_VD, targets_N.contiguous(), loss_of)


class _FusedTokenLoss(torch.autograd.Function):
    """Loss and both gradients in one pass over the rows; the backward pass scales them in place."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, loss_of: TokenLoss
    ) -> tuple[Tensor, Tensor]:
        count, vocabulary = len(targets_N), len(weight_VD)
        total = torch.zeros((), dtype=torch.float32)
        log_probs_N = torch.empty(count)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        sum_VD: Tensor | None = None
        wait = max(LEAST_ROWS, BUFFER_BYTES // (2 * vocabulary))
        step = max(LEAST_ROWS, CHUNK_BYTES // (2 * vocabulary))
        for start in range(0, count, wait):
            end = min(start + wait, count)
            buffer_NV = _buffer(end - start, vocabulary)
            for first in range(start, end, step):
                rows = slice(first, min(first + step, end))
                logits_NV = buffer_NV[rows.start - start : rows.stop - start]
                torch.mm(hidden_ND[rows], weight_VD.T, out=logits_NV)
                log_sums_N = ops.log_probs(logits_NV, targets_N[rows], log_probs_N[rows])
                loss_N, slopes_N = loss_of(log_probs_N[rows], rows)
                total += loss_N.sum()
                if slopes_N is not None:
                    slopes_N = slopes_N.to(torch.float32).contiguous()
                ops.logit_gradients(logits_NV, targets_N[rows], log_sums_N, slopes_N)
                torch.mm(logits_NV, weight_VD, out=grad_hidden_ND[rows])
            part_VD = buffer_NV.T @ hidden_ND[start:end]
            if count > wait:  # several products: summed in float32
                sum_VD = part_VD.float() if sum_VD is None else sum_VD.add_(part_VD)
            else:
                sum_VD = part_VD
        if sum_VD is None:  # no row at all
            sum_VD = torch.zeros_like(weight_VD)
        ctx.gradients = grad_hidden_ND, sum_VD.to(weight_VD.dtype)
        ctx.mark_non_differentiable(log_probs_N)
        return total, log_probs_N

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        assert ctx.gradients is not None, "the loss's gradient is given once"
        grad_hidden_ND, grad_weight_VD = ctx.gradients
        ctx.gradients = None
        return grad_hidden_ND.mul_(grad), grad_weight_VD.mul_(grad), None, None


def _buffer(rows: int, width: int) -> Tensor:
    """Return this thread's buffer, as long as no larger one is asked for the same memory."""
    kept: Tensor | None = getattr(_kept, "buffer", None)
    if kept is None or kept.numel() < rows * width:
        _kept.buffer = None  # first give back, then take
        kept = _kept.buffer = torch.empty(rows * width, dtype=torch.bfloat16)
    return kept[: rows * width].view(rows, width)
