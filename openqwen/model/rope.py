"""Rotary position embedding, whole in float32 whatever the model computes in (§2.3.1).

    cos_BT1E, sin_BT1E = rotary_tables(positions_BT, inverse_frequencies(head_dim=128, theta=1e4))
    q_BTHE = rotate(q_BTHE, cos_BT1E, sin_BT1E)

The half layout: element i of a head is paired with element i + E/2.
"""

import torch
from torch import Tensor


def inverse_frequencies(
    *, head_dim: int, theta: float, device: torch.device | None = None
) -> Tensor:
    """Return theta^(-2i/E) for each pair i of a head of `head_dim` = E elements.

    Returns:
        (E/2,) float32. Kept in float32: rounded to bfloat16, distant positions blur (§2.3.1).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    return 1.0 / theta**exponents


def rotary_tables(positions_BT: Tensor, inverse_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of every position's angles, ready to broadcast over heads.

    Args:
        positions_BT: 0-based positions, any integer type; B may be 1 for all rows.
        inverse_BP: inverse frequencies, (E/2,) or one set a row, (B, E/2); float32.

    Returns:
        Two (B, T, 1, E/2) float32 tensors.
    """
    angles_BTP = positions_BT.to(torch.float32)[..., None] * inverse_BP[..., None, :]
    angles_BT1P = angles_BTP[:, :, None, :]
    return angles_BT1P.cos(), angles_BT1P.sin()


def rotate(x_BTHE: Tensor, cos_BT1P: Tensor, sin_BT1P: Tensor) -> Tensor:
    """Rotate each head's pairs by their angles; the result is float32, for the caller to cast back.

    Args:
        x_BTHE: queries or keys, any floating type.
        cos_BT1P: cosine of the angles, float32.
        sin_BT1P: sine of the angles, float32.

    Matches the published Qwen-7B code, which rotates in float32 and casts back.
    """
    first, second = x_BTHE.to(torch.float32).chunk(2, dim=-1)
    return torch.cat(
        (first * cos_BT1P - second * sin_BT1P, second * cos_BT1P + first * sin_BT1P), dim=-1
    )
