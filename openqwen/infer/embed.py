"""Texts as vectors: the mean of the last hidden states, after the final norm, over a text's tokens.

    vectors_ND = mean_states(model, [ids, ...])
    for places in passes_of([len(ids) for ids in texts]): ...      # to do other work between passes

The vectors are comparable within one model only, and a model trained for the purpose does better;
Muennighoff (2022, SGPT) measures this and other ways to pool the states of a language model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import hidden_chunks
from openqwen.model.long_context import NO_EXTENSION, LongContext

PASS_TOKENS = 2048


def mean_states(
    model: Decoder,
    texts: Sequence[Sequence[int]],
    *,
    long_context: LongContext = NO_EXTENSION,
) -> Tensor:
    """Return each text's mean state, (N, D) float32, each as if alone.

    Args:
        model: in evaluation mode.
        texts: token ids, at least one each.
        long_context: methods in force; α is that of each text's own length.
    """
    vectors_ND = torch.zeros(len(texts), model.config.hidden_size)
    for places in passes_of([len(ids) for ids in texts]):
        vectors_ND[places] = _mean_of_pass(model, [texts[i] for i in places], long_context).cpu()
    return vectors_ND


def passes_of(lengths: Sequence[int], *, most_tokens: int = PASS_TOKENS) -> list[list[int]]:
    """Return the places of texts that go together: of similar length, so that little is padded.

    Args:
        lengths: tokens of each text.
        most_tokens: of a pass, padding counted; a longer text goes alone.
    """
    passes: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        widest = lengths[passes[-1][0]] if passes else 0
        if (
            passes
            and widest * (len(passes[-1]) + 1) <= most_tokens
            and 4 * lengths[place] >= 3 * widest
        ):
            passes[-1].append(place)
        else:
            passes.append([place])
    return passes


@torch.no_grad()
def _mean_of_pass(
    model: Decoder, texts: Sequence[Sequence[int]], long_context: LongContext
) -> Tensor:
    lengths = [len(ids) for ids in texts]
    if len(texts) == 1:
        ids_1T = torch.tensor([list(texts[0])], device=model.device)
        chunks = hidden_chunks(model, ids_1T, long_context=long_context)
        sums_BD = torch.stack([hidden_1TD.float().sum(1) for _, hidden_1TD in chunks]).sum(0)
        return sums_BD / lengths[0]
    ids_BT = torch.zeros(len(texts), max(lengths), dtype=torch.int64)
    for row, ids in enumerate(texts):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    hidden_BTD = model.hidden(
        ids_BT.to(model.device), long_context=long_context, lengths_B=lengths
    ).float()
    return torch.stack([row_TD[:n].mean(0) for row_TD, n in zip(hidden_BTD, lengths, strict=True)])
