"""How likely a text is to a model, token by token, without holding all its logits.

losses_N = token_losses(hidden_ND, model.lm_head.weight, targets_N)     # nats a token
"""

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.long_context import NO_EXTENSION, LongContext

IGNORED = -100  # targets that bear no loss
CHUNK_BYTES = 8 << 20  # float32 logits held at once: what a last-level cache takes


@torch.no_grad()
def token_losses(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Return each target's negative log-likelihood in nats, (N,) float32; 0 where `IGNORED`.

    Args:
        hidden_ND: final hidden states, any floating type.
        weight_VD: the output projection, the same type.
        targets_N: the token that follows each state.
    """
    losses_N = torch.zeros(len(targets_N), device=hidden_ND.device)
    for rows in logit_chunks(len(targets_N), len(weight_VD)):
        logits_NV = (hidden_ND[rows] @ weight_VD.T).float()
        picked_N = logits_NV.gather(1, targets_N[rows].clamp_min(0)[:, None])[:, 0]
        valid_N = targets_N[rows] != IGNORED
        losses_N[rows] = (logits_NV.logsumexp(1) - picked_N) * valid_N
    return losses_N


@torch.no_grad()
def token_log_probs(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability and its distribution's entropy, in nats, (N,) float32.

    Args:
        hidden_ND: final hidden states, any floating type.
        weight_VD: the output projection, the same type.
        targets_N: the token that follows each state, all of them valid.
    """
    log_probs_N = torch.empty(len(targets_N), device=hidden_ND.device)
    entropy_N = torch.empty_like(log_probs_N)
    for rows in logit_chunks(len(targets_N), len(weight_VD)):
        logits_NV = (hidden_ND[rows] @ weight_VD.T).float()
        log_sum_N1 = logits_NV.logsumexp(1, keepdim=True)
        log_probs_N[rows] = (logits_NV.gather(1, targets_N[rows][:, None]) - log_sum_N1)[:, 0]
        mean_N = (torch.softmax(logits_NV, 1) * logits_NV).sum(1)
        entropy_N[rows] = log_sum_N1[:, 0] - mean_N
    return log_probs_N, entropy_N


@torch.no_grad()
def sequence_losses(
    model: Decoder,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    *,
    long_context: LongContext = NO_EXTENSION,
) -> Tensor:
    """Return each target's negative log-likelihood in nats, (B·T,) float32, row after row.

    Args:
        model: in evaluation mode where methods are to be in force.
        inputs_BT: token ids.
        targets_BT: the token that follows each; `IGNORED` counts 0.
        long_context: methods in force.
    """
    hidden_ND = model.hidden(inputs_BT, long_context=long_context).flatten(0, 1)
    return token_losses(hidden_ND, model.lm_head.weight, targets_BT.flatten())


def logit_chunks(num_rows: int, vocab_size: int) -> list[slice]:
    """Return row ranges whose float32 logits fit `CHUNK_BYTES`; at least one row each."""
    rows = max(1, CHUNK_BYTES // (4 * vocab_size))
    return [slice(start, min(start + rows, num_rows)) for start in range(0, num_rows, rows)]
