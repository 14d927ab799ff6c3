"""Causal attention whose keys and values travel round a ring of ranks (Liu et al. 2023).

    y_BHTE = ring_attention(q_BHTE, k_BKTE, v_BKTE, group)

Rank r of n holds chunks r and 2n-1-r of every sequence, so that each step is the same work for all.
In step s it has the keys of rank r-s: its own are causal; of an earlier rank's it sees the first
chunk, from both its own; of a later rank's it sees both, from its second chunk. Each part gives an
output and its logarithm of the sum of exponentials, from which the whole follows; the backward pass
goes round again, with the keys' gradients beside them. Only two ranks' keys are ever held.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed import P2POp, ProcessGroup

ALL = slice(None)


class _Part(NamedTuple):
    """What one step attends: these queries to these keys, causally or not."""

    queries: slice
    keys: slice
    is_causal: bool


def ring_attention(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, group: ProcessGroup) -> Tensor:
    """Return what this rank's queries gather from the keys and values of all ranks, (B, H, T, E).

    Args:
        q_BHTE: queries of this rank's two chunks, one after the other; T even.
        k_BKTE: its keys; H a multiple of K.
        v_BKTE: its values.
        group: the ranks that share the sequences, in their order.
    """
    apply: Callable[..., Tensor] = _RingAttention.apply
    return apply(q_BHTE, k_BKTE, v_BKTE, group)


class _RingAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, group: ProcessGroup
    ) -> Tensor:
        T = q_BHTE.shape[2]
        y_BHTE = torch.zeros_like(q_BHTE, dtype=torch.float32)
        log_sum_BHT = y_BHTE.new_full(y_BHTE.shape[:3], -math.inf)
        kv = torch.stack((k_BKTE, v_BKTE))
        for step in range(group.size()):
            travelling = None if step == group.size() - 1 else _Travelling(kv, group)
            rows, keys, is_causal = _part(group, step, T)
            y, log_sum = _attend(
                q_BHTE[:, :, rows], kv[0][:, :, keys], kv[1][:, :, keys], is_causal
            )
            before, both = (
                log_sum_BHT[:, :, rows],
                torch.logaddexp(log_sum_BHT[:, :, rows], log_sum),
            )
            y_BHTE[:, :, rows] = (
                y_BHTE[:, :, rows] * (before - both).exp()[..., None]
                + y * (log_sum - both).exp()[..., None]
            )
            log_sum_BHT[:, :, rows] = both
            if travelling is not None:
                kv = travelling.arrived()
        y_BHTE = y_BHTE.to(q_BHTE.dtype)
        ctx.save_for_backward(q_BHTE, k_BKTE, v_BKTE, y_BHTE, log_sum_BHT)
        ctx.group = group
        return y_BHTE

    @staticmethod
    def backward(ctx: Any, grad_BHTE: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_BHTE, k_BKTE, v_BKTE, y_BHTE, log_sum_BHT = ctx.saved_tensors
        group, T = ctx.group, q_BHTE.shape[2]
        grad_q_BHTE = torch.zeros_like(q_BHTE, dtype=torch.float32)
        kv = torch.stack((k_BKTE, v_BKTE))
        grad_kv = torch.zeros_like(kv, dtype=torch.float32)  # of the keys that are here now
        for step in range(group.size()):
            travelling = None if step == group.size() - 1 else _Travelling(kv, group)
            rows, keys, is_causal = _part(group, step, T)
            grads = _attend_backward(
                grad_BHTE[:, :, rows],
                q_BHTE[:, :, rows],
                kv[0][:, :, keys],
                kv[1][:, :, keys],
                y_BHTE[:, :, rows],
                log_sum_BHT[:, :, rows],
                is_causal,
            )
            grad_q_BHTE[:, :, rows] += grads[0]
            grad_kv[0][:, :, keys] += grads[1]
            grad_kv[1][:, :, keys] += grads[2]
            if travelling is not None:
                kv = travelling.arrived()
            grad_kv = _Travelling(grad_kv, group).arrived()  # after the last step they are home
        grad_k_BKTE, grad_v_BKTE = grad_kv.to(k_BKTE.dtype)
        return grad_q_BHTE.to(q_BHTE.dtype), grad_k_BKTE, grad_v_BKTE, None


class _Travelling:
    """Something on its way from the rank before, while ours is on its way to the next."""

    def __init__(self, sent: Tensor, group: ProcessGroup) -> None:
        rank, size = group.rank(), group.size()
        self.received = torch.empty_like(sent)
        operations = [
            P2POp(distributed.isend, sent, group=group, group_peer=(rank + 1) % size),
            P2POp(distributed.irecv, self.received, group=group, group_peer=(rank - 1) % size),
        ]
        self.work = distributed.batch_isend_irecv(operations)

    def arrived(self) -> Tensor:
        for work in self.work:
            work.wait()
        return self.received


def _part(group: ProcessGroup, step: int, T: int) -> _Part:
    """Return what this rank's queries see of the keys of the rank `step` before it."""
    owner = (group.rank() - step) % group.size()
    if owner == group.rank():
        return _Part(ALL, ALL, True)
    if owner < group.rank():
        return _Part(ALL, slice(0, T // 2), False)
    return _Part(slice(T // 2, T), ALL, False)


def _attend(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> tuple[Tensor, Tensor]:
    """Return the output and the logarithm of the sum of exponentials, (B, H, T) float32."""
    if q.device.type == "cpu":
        y, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, is_causal
        )
        return y, log_sum
    return plain_attend(q, k, v, is_causal)


def _attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, log_sum: Tensor, is_causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one part's gradients of q, k, v; `y` and `log_sum` are those of all parts."""
    if q.device.type == "cpu":
        grad_q, grad_k, grad_v = (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad, q, k, v, y, log_sum, 0.0, is_causal
            )
        )
        return grad_q, grad_k, grad_v
    return plain_attend_backward(grad, q, k, v, y, log_sum, is_causal)


def plain_attend(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> tuple[Tensor, Tensor]:
    """Attend by plain products, where no kernel returns the sums; holds all scores of a part.

    Args:
        q: queries, (B, H, T, E).
        k: keys, (B, K, S, E); H a multiple of K.
        v: values, the same.
        is_causal: query i sees keys 0 … i, else all.

    Returns:
        The output, (B, H, T, E) float32, and the logarithm of the sum of exponentials, (B, H, T).
    """
    scores_BKGTS = _scores(q, k, is_causal)
    log_sum_BKGT = scores_BKGTS.logsumexp(-1)
    weights_BKGTS = (scores_BKGTS - log_sum_BKGT[..., None]).exp()
    y_BKGTE = weights_BKGTS @ v.float()[:, :, None]
    return y_BKGTE.flatten(1, 2), log_sum_BKGT.flatten(1, 2)


def plain_attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, log_sum: Tensor, is_causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v for `plain_attend`, in float32.

    Args:
        grad: gradient of the whole output, (B, H, T, E).
        q: queries.
        k: keys of this part.
        v: values of this part.
        y: the whole output.
        log_sum: of the whole, (B, H, T) float32.
        is_causal: as in `plain_attend`.
    """
    split = (k.shape[1], q.shape[1] // k.shape[1])
    grad_BKGTE = grad.float().unflatten(1, split)
    weights_BKGTS = (_scores(q, k, is_causal) - log_sum.unflatten(1, split)[..., None]).exp()
    grad_v = (weights_BKGTS.transpose(-1, -2) @ grad_BKGTE).sum(2)
    along_BKGT1 = (grad_BKGTE * y.float().unflatten(1, split)).sum(-1, keepdim=True)
    slope_BKGTS = weights_BKGTS * (grad_BKGTE @ v.float()[:, :, None].mT - along_BKGT1)
    slope_BKGTS = slope_BKGTS / math.sqrt(q.shape[-1])
    grad_q = (slope_BKGTS @ k.float()[:, :, None]).flatten(1, 2)
    grad_k = (slope_BKGTS.mT @ q.float().unflatten(1, split)).sum(2)
    return grad_q, grad_k, grad_v


def _scores(q: Tensor, k: Tensor, is_causal: bool) -> Tensor:
    """Return every query's product with every key, (B, K, G, T, S) float32; unseen ones -inf."""
    q_BKGTE = q.float().unflatten(1, (k.shape[1], q.shape[1] // k.shape[1]))
    scores_BKGTS: Tensor = q_BKGTE @ k.float()[:, :, None].mT / math.sqrt(q.shape[-1])
    if is_causal:
        unseen_TS = torch.ones(scores_BKGTS.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores_BKGTS = scores_BKGTS.masked_fill(unseen_TS, -math.inf)
    return scores_BKGTS
