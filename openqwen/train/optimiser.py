"""AdamW on float32 masters of a model that may compute in bfloat16 (§2.4).

    optimiser = MasterAdamW(model, config)
    optimiser.accumulate(torch.autograd.grad(loss, list(model.parameters())))  # a micro-batch
    norm = optimiser.step(learning_rate)             # clip, update masters, copy them back

Gradients of micro-batches are summed in float32. Where the model is float32 already, its parameters
are the masters and nothing is copied.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openqwen.train.config import TrainingConfig


class MasterAdamW:
    """AdamW with decoupled decay on matrices only; holds masters, moments and summed gradients."""

    def __init__(
        self, model: nn.Module, config: TrainingConfig, *, compute_dtype: torch.dtype
    ) -> None:
        """Take a float32 model's parameters as masters and cast the model to `compute_dtype`.

        Parameters that require no gradient are cast and otherwise left alone.
        """
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.shares_memory = compute_dtype == torch.float32
        self.masters = [
            p.detach() if self.shares_memory else p.detach().clone() for _, p in trained
        ]
        assert all(m.dtype == torch.float32 for m in self.masters), "masters are float32"
        model.to(compute_dtype)
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.clip_norm = config.clip_norm
        decayed = [m for m in self.masters if m.ndim >= 2]
        others = [m for m in self.masters if m.ndim < 2]
        self.adamw = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )

    @torch.no_grad()
    def accumulate(self, gradients: Sequence[Tensor]) -> None:
        """Add one micro-batch's gradients, in the parameters' order, to the sum in float32."""
        for gradient, master in zip(gradients, self.masters, strict=True):
            if master.grad is None:
                master.grad = gradient.to(torch.float32, copy=True)
            else:
                master.grad += gradient

    @torch.no_grad()
    def step(self, learning_rate: float) -> Tensor:
        """Clip the summed gradient, update the masters, copy them to the model.

        Returns:
            () float32: the gradient's norm before clipping.
        """
        gradients = [m.grad for m in self.masters if m.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        nn.utils.clip_grads_with_norm_(self.masters, self.clip_norm, norm)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        if not self.shares_memory:
            torch._foreach_copy_(self.parameters, self.masters)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return everything a resumed run needs, by name: masters, both moments, step counts."""
        tensors = {}
        for name, master in zip(self.names, self.masters, strict=True):
            tensors[f"master.{name}"] = master
            for key, value in self.adamw.state[master].items():
                tensors[f"{key}.{name}"] = value
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state of the same model and copy the masters to the model.

        Raises:
            KeyError: if a tensor is missing.
        """
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(tensors[f"master.{name}"])
            self.adamw.state[master] = {
                key: tensors[f"{key}.{name}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")
            }
        if not self.shares_memory:
            torch._foreach_copy_(self.parameters, self.masters)
