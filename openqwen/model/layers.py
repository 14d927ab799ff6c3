"""What stands between attentions: RMSNorm, the SwiGLU feed-forward network (§2.3.1), dropout."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openqwen.model.config import ModelConfig


class RMSNorm(nn.Module):
    """Divide by the root mean square in float32, cast back, then scale by a learnt weight.

    Matches the published Qwen-7B code in where it casts.
    """

    def __init__(self, size: int, eps: float) -> None:
        """Start with weight 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the normalised input, same shape and type."""
        wide = x_BTD.to(torch.float32)
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x_BTD.dtype)


class SwiGLU(nn.Module):
    """Feed-forward network: down(silu(gate(x)) · up(x)), gate and up in one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the packed (gate | up) and the down projection, without biases."""
        super().__init__()
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the network's output, same shape as its input."""
        gate_BTF, up_BTF = self.gate_up(x_BTD).chunk(2, dim=-1)
        down: Tensor = self.down(functional.silu(gate_BTF) * up_BTF)
        return down


class Dropout:
    """Zero a share `p` of the elements and scale the others up, by a generator of one's own.

    Made anew for each micro-batch from seed, step and place, it draws the same whatever thread the
    micro-batch runs on and whatever ran before: torch's own dropout draws from one global source.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        """Take the share to drop and the source of randomness.

        Raises:
            ValueError: if `p` is not in [0, 1).
        """
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {p}")
        self.p, self.generator = p, generator

    def __call__(self, x: Tensor) -> Tensor:
        """Return a new tensor of the same shape and type."""
        if self.p == 0:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)
