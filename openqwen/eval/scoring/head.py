"""How likely tokens are behind states: one pass over the vocabulary, whose logits go nowhere.

log_probs_N, is_likeliest_N = token_scores(model, states_RD, rows_N, tokens_N)
"""

import torch
from torch import Tensor

from openqwen.infer.kernels import ops
from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import logit_chunks


@torch.no_grad()
def token_scores(
    model: Decoder, states_RD: Tensor, rows_N: Tensor, tokens_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each token's log-probability, (N,) float32, and whether it is the likeliest one.

    Args:
        model: has the output projection.
        states_RD: final states.
        rows_N: the state that each token stands behind.
        tokens_N: ids.
    """
    weight = getattr(model.lm_head, "weight", None)
    if (
        isinstance(weight, Tensor)
        and weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and weight.shape[1] % ops.SCORED_WIDTH == 0
        and ops.bf16_kernels_are_open()
    ):
        log_sums_R, best_R, picked_N = ops.score(states_RD, weight, rows_N, tokens_N)
        return picked_N - log_sums_R[rows_N], best_R[rows_N] == tokens_N
    vocab_size = model.config.vocab_size
    log_sums_R = torch.empty(len(states_RD), device=states_RD.device)
    best_R = torch.empty(len(states_RD), dtype=torch.int64, device=states_RD.device)
    picked_N = torch.empty(len(rows_N), device=states_RD.device)
    for chunk in logit_chunks(len(states_RD), vocab_size):
        logits_RV = model.lm_head(states_RD[chunk]).float()
        log_sums_R[chunk] = logits_RV.logsumexp(1)
        best_R[chunk] = logits_RV.argmax(1)
        here_N = (rows_N >= chunk.start) & (rows_N < chunk.stop)
        picked_N[here_N] = logits_RV[rows_N[here_N] - chunk.start, tokens_N[here_N]]
    return picked_N - log_sums_R[rows_N], best_R[rows_N] == tokens_N
