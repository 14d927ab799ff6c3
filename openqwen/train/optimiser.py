"""AdamW on float32 masters of a model that may compute in bfloat16 (§2.4).

    optimiser = MasterAdamW(model, config)
    optimiser.accumulate(torch.autograd.grad(loss, list(model.parameters())))  # a micro-batch
    norm = optimiser.step(learning_rate)             # clip, update masters, copy them back

Gradients of micro-batches are summed in float32. Where the model is float32 already, its parameters
are the masters and nothing is copied.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from openqwen.core.workers import Workers
from openqwen.train.config import TrainingConfig
from openqwen.train.fused_optimiser import GradientSums, Rates, clip_factor, update_master
from openqwen.train.kernels import ops
from openqwen.train.sharded_state import packed_state, parts_of

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
Item = TypeVar("Item")
Found = TypeVar("Found")
NUM_PARTS = 4  # of the masters, updated at the same time where there are workers


class MasterAdamW:
    """AdamW with decoupled decay on matrices only; holds masters, moments and summed gradients."""

    def __init__(
        self, model: nn.Module, config: TrainingConfig, *, compute_dtype: torch.dtype
    ) -> None:
        """Take a float32 model's parameters as masters and cast the model to `compute_dtype`.

        Parameters that require no gradient are cast and otherwise left alone.
        """
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.layout = parts_of(model)
        self.names = [name for name, _ in trained]
        self.shares_memory = compute_dtype == torch.float32
        self.masters = [
            p.detach() if self.shares_memory else p.detach().clone() for _, p in trained
        ]
        assert all(m.dtype == torch.float32 for m in self.masters), "masters are float32"
        model.to(compute_dtype)
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.clip_norm = config.clip_norm
        self.parts = _even_parts(self.masters)
        self.sums = (
            GradientSums(self.masters, self.parts)
            if all(m.device.type == "cpu" and m.is_contiguous() for m in self.masters)
            and compute_dtype in (torch.float32, torch.bfloat16)
            and ops.kernels_are_open()
            else None
        )
        self.adamws = [torch_adamw([self.masters[i] for i in part], config) for part in self.parts]

    def add_gradients(
        self,
        loss_of: Callable[[Item], tuple[Tensor, Found]],
        micro_batches: Iterable[Item],
        workers: Workers,
    ) -> list[Found]:
        """Sum the micro-batches' gradients; return what `loss_of` kept of each, in their order.

        They are worked on at the same time and added in order: the sum does not depend on how many
        workers there are.
        """

        def gradients(item: Item) -> tuple[Found, tuple[Tensor, ...]]:
            loss, found = loss_of(item)
            return found, torch.autograd.grad(loss, self.parameters)

        kept = []
        for found, grads in workers.map(gradients, micro_batches):
            kept.append(found)
            self.accumulate(grads)
        return kept

    def spread(self, workers: Workers) -> Workers:
        """Return what measures the model on many pieces at the same time: the workers."""
        return workers

    @torch.no_grad()
    def accumulate(self, gradients: Sequence[Tensor]) -> None:
        """Add one micro-batch's gradients, in the parameters' order, to the sum in float32."""
        if self.sums is not None:
            self.sums.add(gradients)
            return
        for gradient, master in zip(gradients, self.masters, strict=True):
            if master.grad is None:
                master.grad = gradient.to(torch.float32, copy=True)
            else:
                master.grad += gradient

    @torch.no_grad()
    def step(
        self,
        learning_rate: float,
        workers: Workers | None = None,
        *,
        accept: Callable[[Tensor], bool] | None = None,
    ) -> Tensor:
        """Clip the summed gradient, update the masters, copy them to the model.

        Args:
            learning_rate: of this step.
            workers: each updates a part of the masters; the bits are the same without.
            accept: asked before the update, with the norm; where it says False the gradient is
                dropped and nothing else changes.

        Returns:
            () float32: the gradient's norm before clipping.
        """
        run = map if workers is None else workers.map
        if self.sums is not None:
            norm = torch.tensor(self.sums.norm(run), dtype=torch.float32)
        else:
            norm = nn.utils.get_total_norm([m.grad for m in self.masters if m.grad is not None])
        if accept is None or accept(norm):
            parts = range(len(self.parts))
            list(run(lambda number: self._update(number, learning_rate, norm), parts))
        for master in self.masters:
            master.grad = None
        if self.sums is not None:
            self.sums.clear()
        return norm

    @torch.no_grad()
    def _update(self, number: int, learning_rate: float, norm: Tensor) -> None:
        """Clip, update and copy one part."""
        adamw, part = self.adamws[number], self.parts[number]
        if self.sums is not None:
            self._update_fused(adamw, part, learning_rate, float(norm))
            return
        masters = [self.masters[i] for i in part]
        nn.utils.clip_grads_with_norm_(masters, self.clip_norm, norm)
        for group in adamw.param_groups:
            group["lr"] = learning_rate
        adamw.step()
        if not self.shares_memory:
            torch._foreach_copy_([self.parameters[i] for i in part], masters)

    def _update_fused(
        self, adamw: torch.optim.AdamW, part: list[int], learning_rate: float, norm: float
    ) -> None:
        """Do the same in one pass over each parameter."""
        assert self.sums is not None, "only where gradients are summed by kernels"
        place = {id(self.masters[i]): i for i in part}
        for group in adamw.param_groups:
            beta1, beta2 = group["betas"]
            rates = Rates(
                learning_rate, beta1, beta2, group["eps"], group["weight_decay"],
                clip_factor(norm, self.clip_norm),
            )  # fmt: skip
            for master in group["params"]:
                i = place[id(master)]
                copy = None if self.shares_memory else self.parameters[i]
                update_master(master, adamw.state[master], self.sums.of(i), copy, rates)

    def state(self) -> dict[str, Tensor]:
        """Return everything a resumed run needs, by name: masters, both moments, step counts."""
        tensors = {}
        for adamw, part in zip(self.adamws, self.parts, strict=True):
            for i in part:
                tensors[f"master.{self.names[i]}"] = self.masters[i]
                for key, value in adamw.state[self.masters[i]].items():
                    tensors[f"{key}.{self.names[i]}"] = value
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state of the same model, ours or of many ranks, and copy it to the model.

        Raises:
            KeyError: if a tensor is missing.
        """
        tensors = packed_state(tensors, self.layout)
        for adamw, part in zip(self.adamws, self.parts, strict=True):
            for i in part:
                self.masters[i].copy_(tensors[f"master.{self.names[i]}"])
                if f"{MOMENTS[0]}.{self.names[i]}" in tensors:  # else no step had been taken yet
                    adamw.state[self.masters[i]] = {
                        key: tensors[f"{key}.{self.names[i]}"].clone() for key in MOMENTS
                    }
                else:
                    adamw.state.pop(self.masters[i], None)
        if not self.shares_memory:
            torch._foreach_copy_(self.parameters, self.masters)


def torch_adamw(masters: Sequence[Tensor], config: TrainingConfig) -> torch.optim.AdamW:
    """Return torch's fused AdamW of float32 masters; only matrices decay."""
    decayed = [m for m in masters if m.ndim >= 2]
    others = [m for m in masters if m.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def _even_parts(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Return places of tensors in a few lists of about the same number of elements."""
    parts: list[list[int]] = [[] for _ in range(NUM_PARTS)]
    sizes = [0] * NUM_PARTS
    for i in sorted(range(len(tensors)), key=lambda i: (-tensors[i].numel(), i)):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(i)
        sizes[smallest] += tensors[i].numel()
    return [part for part in parts if part]
