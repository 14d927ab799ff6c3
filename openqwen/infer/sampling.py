"""From logits to a token: penalty, temperature, top-k, min-p, top-p, then one draw.

    token = pick(logits_V, sampling, generator=generator, allowed_V=allowed_V, seen_V=seen_V)

Everything here looks at one position of one sequence, so a reply never depends on its neighbours
in a batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.infer.config import Sampling
from openqwen.tokenizer.tokenizer import Tokenizer

UNTRAINED_PREFIX = "<|extra_"
LEAST_TEMPERATURE = 1e-6


def allowed_rows(vocab_size: int, tokenizer: Tokenizer | None) -> Tensor:
    """Return which rows of the output projection may be sampled, (V,) bool.

    Rows past the vocabulary are padding and `<|extra_i|>` are reserves: both were never trained.
    Without a tokenizer nothing is known, so all are allowed.
    """
    if tokenizer is None:
        return torch.ones(vocab_size, dtype=torch.bool)
    named = list(tokenizer.ranks.values()) + [
        i for name, i in tokenizer.control_tokens.items() if not name.startswith(UNTRAINED_PREFIX)
    ]
    allowed_V = torch.zeros(vocab_size, dtype=torch.bool)
    allowed_V[torch.tensor(named)] = True
    return allowed_V


def pick(
    logits_V: Tensor,
    sampling: Sampling,
    *,
    generator: torch.Generator,
    allowed_V: Tensor,
    seen_V: Tensor,
) -> int:
    """Return the next token's id.

    Args:
        logits_V: float32 scores of every row, on the CPU; not changed.
        sampling: the settings.
        generator: the sequence's own source of randomness; one draw a token unless greedy.
        allowed_V: rows that may be chosen.
        seen_V: rows that stand in the prompt or the reply, for the repetition penalty.
    """
    scores_V = logits_V.masked_fill(~allowed_V, -torch.inf)
    if sampling.repetition_penalty != 1.0:
        scores_V = penalise(scores_V, seen_V, sampling.repetition_penalty)
    if sampling.greedy or sampling.temperature == 0:
        return int(scores_V.argmax())
    # from the maximum down, so that a small temperature underflows to greedy and not to NaN
    scores_V = (scores_V - scores_V.max()) / max(sampling.temperature, LEAST_TEMPERATURE)
    probs_V = torch.softmax(scores_V, dim=-1)
    probs_V = keep_top_k(probs_V, sampling.top_k)
    probs_V = keep_min_p(probs_V, sampling.min_p)
    probs_V = keep_top_p(probs_V, sampling.top_p)
    return int(torch.multinomial(probs_V, 1, generator=generator))


def draw_rows(
    logits_BV: Tensor,
    *,
    temperature: float,
    top_p: float,
    bias_V: Tensor,
    generators: Sequence[torch.Generator],
) -> tuple[list[int], list[bool]]:
    """Draw one token a row, all rows at once, by temperature and top-p; no sorting.

    A token is drawn from the whole distribution and taken if the tokens likelier than it have less
    than `top_p` of the mass; else it is drawn again. That is exactly the distribution of `pick`:
    of the smallest set that reaches `top_p`, each token by its probability (of equals at the edge
    all are kept).

    Args:
        logits_BV: scores, any floating type.
        temperature: divides the logits, above 0.
        top_p: mass of the set.
        bias_V: 0 for tokens that may be chosen, minus infinity for others; float32, beside the
            logits.
        generators: each row's own source of randomness, on the CPU.

    Returns:
        The tokens, and whether each row's first draw was taken: the mean over many rows and steps
        is the mass that top-p keeps, without bias.
    """
    probs_BV = torch.softmax(logits_BV.float() / temperature + bias_V, -1)
    mass_BV = probs_BV.cumsum(-1)
    device = probs_BV.device
    tokens = torch.zeros(len(probs_BV), dtype=torch.int64, device=device)
    waiting = torch.arange(len(probs_BV), device=device)
    taken_first: list[bool] = []
    while len(waiting):
        rows = waiting.tolist()
        draws_N = torch.cat([torch.rand(1, generator=generators[row]) for row in rows]).to(device)
        of_NV = mass_BV[waiting]
        drawn_N1 = torch.searchsorted(of_NV, draws_N[:, None] * of_NV[:, -1:], right=True)
        drawn_N1.clamp_(max=probs_BV.shape[1] - 1)
        probs_NV = probs_BV[waiting]
        likelier_NV = probs_NV > probs_NV.gather(1, drawn_N1)
        taken_N = (probs_NV * likelier_NV).sum(1) < top_p
        tokens[waiting[taken_N]] = drawn_N1[taken_N, 0]
        if not taken_first:
            taken_first = taken_N.tolist()
        waiting = waiting[~taken_N]
    return tokens.tolist(), taken_first


def penalise(scores_V: Tensor, seen_V: Tensor, penalty: float) -> Tensor:
    """Divide seen tokens' positive scores by `penalty`, multiply the negative (CTRL, 2019)."""
    lowered_V = torch.where(scores_V > 0, scores_V / penalty, scores_V * penalty)
    return torch.where(seen_V, lowered_V, scores_V)


def keep_top_k(probs_V: Tensor, k: int) -> Tensor:
    """Zero all but the `k` likeliest tokens, lower ids first among equals; 0 keeps all."""
    if k == 0 or k >= probs_V.numel():
        return probs_V
    order_V = probs_V.argsort(descending=True, stable=True)
    return probs_V.index_fill(0, order_V[k:], 0.0)


def keep_min_p(probs_V: Tensor, min_p: float) -> Tensor:
    """Zero the tokens below `min_p` times the likeliest one's probability."""
    return probs_V.masked_fill(probs_V < min_p * probs_V.max(), 0.0)


def keep_top_p(probs_V: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of likeliest tokens that reaches `top_p` of the mass.

    The mass is what earlier filters left, so that the set never becomes empty.
    """
    if top_p >= 1:
        return probs_V
    sorted_V, order_V = probs_V.sort(descending=True, stable=True)
    before_V = sorted_V.cumsum(0) - sorted_V
    return probs_V.index_fill(0, order_V[before_V >= top_p * sorted_V.sum()], 0.0)
