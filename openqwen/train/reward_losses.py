"""The pairwise loss of reward models, pure functions (§3.2.1).

loss = pairwise_loss(chosen_P, rejected_P)         # mean of -log sigmoid(chosen - rejected)
"""

import torch
from torch import Tensor
from torch.nn import functional


def pairwise_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    *,
    margin_P: Tensor | None = None,
    center_coefficient: float = 0.0,
) -> Tensor:
    """Return the mean loss over pairs, ().

    Args:
        chosen_P: scores of the better answers.
        rejected_P: scores of the worse ones.
        margin_P: what the better must lead by, or None.
        center_coefficient: weight of the mean of (chosen + rejected)², which keeps scores around 0.

    Finite for any gap: -log sigmoid is taken as softplus of the negative gap. Matches what TRL and
    OpenRLHF give on the recorded cases.
    """
    gap_P = chosen_P - rejected_P
    if margin_P is not None:
        gap_P = gap_P - margin_P
    loss = functional.softplus(-gap_P).mean()
    if center_coefficient:
        loss = loss + center_coefficient * (chosen_P + rejected_P).square().mean()
    return loss


@torch.no_grad()
def pair_accuracy(chosen_P: Tensor, rejected_P: Tensor) -> float:
    """Return the share of pairs whose better answer has the higher score; ties count half."""
    wins, ties = (chosen_P > rejected_P).sum(), (chosen_P == rejected_P).sum()
    return float((wins + 0.5 * ties) / len(chosen_P))
