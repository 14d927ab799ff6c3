"""Context parallelism: the tokens of every sequence spread over the ranks of one axis.

    apply_context_parallel(model, mesh, config)      # the axis is "context"
    hidden_BTD = model.hidden(ids_BT)                # this rank's columns of them
    targets_BT = own_columns(model, targets_BT)      # openqwen/parallel/columns.py

Every rank is given the same whole sequences. Behind the embedding it keeps its own columns, with
their true positions, and works on them alone; only attention needs the others' keys and values.
They reach it by one all-gather a layer (n parts held at once, any mask), or pass by in a ring
(openqwen/parallel/ring.py). Where no gradient is recorded the last states are gathered, so that
what measures a model needs to know nothing of this.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.nn import functional

from openqwen.core.errors import UserError
from openqwen.model.attention import Placement, attend
from openqwen.model.backbone import Backbone
from openqwen.model.decoder import Decoder
from openqwen.model.layers import Dropout
from openqwen.parallel.columns import ATTRIBUTE, Columns
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.ring import ring_attention

AXIS = "context"


def apply_context_parallel(model: Backbone, mesh: DeviceMesh, config: ParallelConfig) -> None:
    """Spread a decoder's sequences over the mesh's context axis; nothing where it has one rank.

    Args:
        model: a decoder; changed in place.
        mesh: has an axis "context".
        config: says how keys and values are exchanged.

    Raises:
        UserError: if the model is a scorer: its score is read at single tokens.
    """
    if AXIS not in (mesh.mesh_dim_names or ()) or mesh[AXIS].size() == 1:
        return
    if not isinstance(model, Decoder):
        raise UserError(
            f"parallel.context = {mesh[AXIS].size()}: reward and value models read single tokens "
            "of a sequence, so it must stay on one rank; set parallel.context to 1"
        )
    spread = _Spread(mesh[AXIS], config.context_exchange)
    setattr(model, ATTRIBUTE, spread.columns)
    model.layers.register_forward_pre_hook(spread.enter, with_kwargs=True)
    model.layers.register_forward_hook(spread.leave, with_kwargs=True)


class _Spread:
    """What stands before and behind a model's layers."""

    def __init__(self, axis: DeviceMesh, exchange: str) -> None:
        self.axis, self.exchange = axis, exchange
        self.columns = Columns(axis.get_group())
        self.width = 0  # of the sequences in the layers now

    def enter(
        self, layers: nn.Module, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Give the layers this rank's columns; all of them where a cache or a window is used."""
        x_BTD, placement, windows = args
        if not self._divides(windows, options):
            return None
        self.width = x_BTD.shape[1]
        dropout = options.get("dropout")
        if dropout is not None:
            options = options | {"dropout": _DropoutOfColumns(dropout, self.columns, self.width)}
        return (self.columns.take(x_BTD, dim=1), self._place(placement), windows), options

    def leave(
        self, layers: nn.Module, args: tuple[Any, ...], options: dict[str, Any], x_BTD: Tensor
    ) -> Tensor:
        """Return all columns where no gradient is recorded, else this rank's."""
        if torch.is_grad_enabled() or not self._divides(args[2], options):
            return x_BTD
        return self._gather(x_BTD, dim=1)[:, : self.width]

    def _divides(self, windows: Sequence[int | None], options: dict[str, Any]) -> bool:
        plain = options.get("cache") is None and not any(windows)
        if not plain and torch.is_grad_enabled():
            raise UserError(
                "parallel.context: training with a cache or with attention windows is not spread "
                "over ranks; set parallel.context to 1"
            )
        return plain

    def _place(self, placement: Placement) -> Placement:
        """Return where this rank's columns stand."""
        take = self.columns.take
        scale_BT11, seen_B1TS = placement.scale_BT11, placement.seen_B1TS
        if seen_B1TS is not None:
            if self.exchange == "ring":
                raise UserError(
                    "parallel.context_exchange = ring: packed texts need all keys at once; "
                    "set it to gather"
                )
            padding = self.columns.chunk(self.width) * 2 * self.columns.size - self.width
            seen_B1TS = functional.pad(take(seen_B1TS, dim=2), (0, padding))
        gather: Callable[[Tensor, Tensor, Tensor], Tensor] = self._attend_to_gathered
        if seen_B1TS is not None:
            gather = _Masked(self._gather_both, seen_B1TS)
        elif self.exchange == "ring":
            gather = self._attend_in_ring
        return dataclasses.replace(
            placement,
            cos_BT1P=take(placement.cos_BT1P, dim=1),
            sin_BT1P=take(placement.sin_BT1P, dim=1),
            scale_BT11=None if scale_BT11 is None else take(scale_BT11, dim=1),
            seen_B1TS=None,
            gather=gather,
        )

    def _attend_to_gathered(self, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        """Attend from each of the two chunks to all keys up to its end."""
        k_BKSE, v_BKSE = self._gather_both(k_BKTE, v_BKTE)
        size = q_BHTE.shape[2] // 2
        found = []
        for number, q in zip(self.columns.chunks(), q_BHTE.split(size, 2), strict=True):
            start, end = number * size, (number + 1) * size
            k, v = k_BKSE[:, :, :end], v_BKSE[:, :, :end]
            found.append(attend(q, k, v, starts=[start], window=None))
        return torch.cat(found, 2)

    def _attend_in_ring(self, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        return ring_attention(q_BHTE, k_BKTE, v_BKTE, self.columns.group)

    def _gather_both(self, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of all positions, in order, from one exchange."""
        k_BKSE, v_BKSE = self._gather(torch.stack((k_BKTE, v_BKTE)), dim=3)
        return k_BKSE, v_BKSE

    def _gather(self, x: Tensor, *, dim: int) -> Tensor:
        """Return all columns in order; the gradient is summed in float32 and scattered."""
        spread = DTensor.from_local(x, self.axis, [Shard(dim)], run_check=False)
        every = spread.redistribute(placements=[Replicate()], backward_dtype=torch.float32)
        return self.columns.in_order(every.to_local(grad_placements=[Partial()]), dim=dim)


class _Masked:
    """Attention of packed texts: all keys, of which each query sees some."""

    def __init__(
        self, both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], seen_B1TS: Tensor
    ) -> None:
        self.both, self.seen_B1TS = both, seen_B1TS

    def __call__(self, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        k_BKSE, v_BKSE = self.both(k_BKTE, v_BKTE)
        return functional.scaled_dot_product_attention(
            q_BHTE,
            k_BKSE,
            v_BKSE,
            attn_mask=self.seen_B1TS,
            enable_gqa=q_BHTE.shape[1] != k_BKSE.shape[1],
        )


class _DropoutOfColumns(Dropout):
    """Draws for the whole sequences, so that every token's fate is that of one process."""

    def __init__(self, whole: Dropout, columns: Columns, width: int) -> None:
        super().__init__(whole.p, whole.generator)
        self.columns, self.width = columns, width

    def __call__(self, x: Tensor) -> Tensor:
        if self.p == 0:
            return x
        every = x.new_empty(len(x), self.width, *x.shape[2:])
        every.bernoulli_(1 - self.p, generator=self.generator)
        return x * self.columns.take(every, dim=1).div_(1 - self.p)
