"""How likely a text is to a model, token by token, without holding all its logits.

losses_N = token_losses(hidden_ND, model.lm_head.weight, targets_N)     # nats a token
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.kv_cache import KVCache
from openqwen.model.long_context import NO_EXTENSION, LongContext

IGNORED = -100  # targets that bear no loss
CHUNK_BYTES = 8 << 20  # float32 logits held at once: what a last-level cache takes
PASS_TOKENS = 8192  # of one text in one pass; a longer one goes through a cache
CHUNK_TOKENS = 2048  # of it at a time

# what `token_log_probs` is for a weight that is no plain matrix, by its type: of split vocabularies
LOG_PROBS_OF: dict[type, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {}


@torch.no_grad()
def token_losses(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Return each target's negative log-likelihood in nats, (N,) float32; 0 where `IGNORED`.

    Args:
        hidden_ND: final hidden states, any floating type.
        weight_VD: the output projection, the same type.
        targets_N: the token that follows each state.
    """
    if type(weight_VD) in LOG_PROBS_OF:
        log_probs_N, _ = LOG_PROBS_OF[type(weight_VD)](hidden_ND, weight_VD, targets_N)
        return torch.where(targets_N == IGNORED, 0.0, -log_probs_N)
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
    if type(weight_VD) in LOG_PROBS_OF:
        return LOG_PROBS_OF[type(weight_VD)](hidden_ND, weight_VD, targets_N)
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
    losses_BT = torch.empty(inputs_BT.shape, device=inputs_BT.device)
    for columns, hidden_BTD in hidden_chunks(model, inputs_BT, long_context=long_context):
        losses_N = token_losses(
            hidden_BTD.flatten(0, 1), model.lm_head.weight, targets_BT[:, columns].flatten()
        )
        losses_BT[:, columns] = losses_N.view(len(inputs_BT), -1)
    return losses_BT.flatten()


@torch.no_grad()
def hidden_chunks(
    model: Decoder, ids_BT: Tensor, *, long_context: LongContext = NO_EXTENSION
) -> Iterator[tuple[slice, Tensor]]:
    """Yield consecutive columns and their final states: all at once, or of long texts in chunks.

    Chunked prefill equals one prefill, and holds the layers' inner values of a chunk only.

    Args:
        model: in evaluation mode where methods are to be in force.
        ids_BT: token ids, rows of equal length.
        long_context: methods in force; α is that of the whole length.
    """
    batch, width = ids_BT.shape
    if width <= PASS_TOKENS:
        yield slice(0, width), model.hidden(ids_BT, long_context=long_context)
        return
    methods = NO_EXTENSION if model.training else long_context
    cache = KVCache(model.config, prompt_lengths=[width] * batch, long_context=methods)
    for start in range(0, width, CHUNK_TOKENS):
        columns = slice(start, min(start + CHUNK_TOKENS, width))
        yield columns, model.hidden(ids_BT[:, columns], cache=cache)


def logit_chunks(num_rows: int, vocab_size: int) -> list[slice]:
    """Return row ranges whose float32 logits fit `CHUNK_BYTES`; at least one row each."""
    rows = max(1, CHUNK_BYTES // (4 * vocab_size))
    return [slice(start, min(start + rows, num_rows)) for start in range(0, num_rows, rows)]
