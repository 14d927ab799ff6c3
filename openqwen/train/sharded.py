"""AdamW on float32 masters that are shared out over ranks: what `MasterAdamW` is to one process.

    optimiser = ShardedAdamW(model, config, mesh, compute_dtype=torch.bfloat16)
    kept = optimiser.add_gradients(loss_of, micro_batches, workers)    # the same list on every rank
    norm = optimiser.step(1e-4)

The model is made parallel; its parameters become DTensors, the masters. Each rank updates its own
shards with torch's AdamW, for which nothing has to be sent; only the norm is summed over ranks.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.core.workers import Workers
from openqwen.model.backbone import Backbone
from openqwen.parallel.mesh import data_rank, data_size
from openqwen.parallel.parallelize import parallelize
from openqwen.parallel.sharding import Root, reshard
from openqwen.parallel.unpack import published_names
from openqwen.train.config import TrainingConfig
from openqwen.train.optimiser import torch_adamw
from openqwen.train.sharded_state import fill_shard, fill_state, parts_of

Item = TypeVar("Item")
Found = TypeVar("Found")
Weights = Callable[[], Iterable[tuple[str, Tensor]]]


class ShardedAdamW:
    """AdamW with decay on matrices only; every rank holds shards of masters and moments."""

    def __init__(
        self,
        model: Backbone,
        config: TrainingConfig,
        mesh: DeviceMesh,
        *,
        compute_dtype: torch.dtype,
        weights: Weights | None = None,
    ) -> None:
        """Make a float32 model, equal on every rank, parallel, and take its shards as masters.

        Args:
            model: changed in place; on the meta device each rank only ever holds its shards.
            config: the optimiser's settings and the parallel ones.
            mesh: of `open_mesh`.
            compute_dtype: of forward and backward passes.
            weights: of a model on the meta device: called once, yields name and whole value of
                each parameter, under the names the model had.
        """
        if any("lora" in name for name, _ in model.named_parameters()):
            raise UserError(
                "adapters (lora.rank above 0) are trained in one process; go without torchrun"
            )
        self.root = parallelize(model, mesh, config.parallel, compute_dtype=compute_dtype)
        if weights is not None:
            self.root.to_empty(device=mesh.device_type)
        self.ranks = DataRanks(mesh)
        self.clip_norm = config.clip_norm
        self.layout = parts_of(model)
        published = published_names(self.layout)
        trained = [(published[name], p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.parameters: list[Tensor] = [p for _, p in trained]
        self.shards: list[DTensor] = [_as_dtensor(p) for p in self.parameters]
        if weights is not None:
            self._fill(weights)
        self.masters = [shard.to_local() for shard in self.shards]
        self.moments: dict[str, list[DTensor]] = {
            kind: [_as_dtensor(torch.zeros_like(shard)) for shard in self.shards]
            for kind in ("exp_avg", "exp_avg_sq")
        }
        self.num_copies = [_num_copies(shard, mesh.size()) for shard in self.shards]
        self.adamw = self._adamw(config)

    @torch.no_grad()
    def _fill(self, weights: Weights) -> None:
        """Take this rank's shards of whole values, one parameter after the other."""
        targets, filled = dict(zip(self.names, self.shards, strict=True)), set()
        by_parameter: dict[str, list[str]] = {}
        for published, part in self.layout.items():
            by_parameter.setdefault(part.parameter, []).append(published)
        for name, whole in weights():
            for published in by_parameter[name]:
                part = self.layout[published]
                fill_shard(targets[published], whole[part.start : part.start + part.rows])
                filled.add(published)
        assert filled == targets.keys(), "every parameter is filled"

    def _adamw(self, config: TrainingConfig) -> torch.optim.AdamW:
        """Return torch's optimiser of this rank's shards, its state in our DTensors' memory."""
        adamw = torch_adamw(self.masters, config)
        for i, master in enumerate(self.masters):
            adamw.state[master] = {
                "step": torch.zeros((), dtype=torch.float32, device=master.device),
                **{kind: moments[i].to_local() for kind, moments in self.moments.items()},
            }
        return adamw

    def add_gradients(
        self,
        loss_of: Callable[[Item], tuple[Tensor, Found]],
        micro_batches: Iterable[Item],
        workers: Workers,
    ) -> list[Found]:
        """Sum the micro-batches' gradients over ranks; return what `loss_of` kept, on every rank.

        Args:
            loss_of: as in `optimise`; runs inside the root module.
            micro_batches: all of the step's, equal on every rank; each works on its own.
            workers: not used: an operation spreads over the rank's processors.
        """
        items = list(micro_batches)
        self.ranks.complain_of_idleness(len(items))
        kept = []
        for place, counts in self.ranks.places(len(items)):
            loss, found = self.root(loss_of, items[place])
            (loss if counts else loss * 0.0).backward()
            kept.append(found)
        return self.ranks.gather(kept, len(items))

    @torch.no_grad()
    def step(
        self,
        learning_rate: float,
        workers: Workers | None = None,
        *,
        accept: Callable[[Tensor], bool] | None = None,
    ) -> Tensor:
        """Clip the summed gradient, update this rank's masters.

        Args:
            learning_rate: of this step.
            workers: not used.
            accept: asked before the update, with the norm; where it says False the gradient is
                dropped and nothing else changes.

        Returns:
            () float32: the whole gradient's norm before clipping, the same on every rank.
        """
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            assert parameter.grad is not None, "every trained parameter has a gradient"
            master.grad = _as_dtensor(parameter.grad).to_local()
            parameter.grad = None
        norm = self._norm()
        if accept is None or accept(norm):
            nn.utils.clip_grads_with_norm_(self.masters, self.clip_norm, norm)
            for group in self.adamw.param_groups:
                group["lr"] = learning_rate
            self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return norm

    def _norm(self) -> Tensor:
        """Return the norm of the whole gradient: every element of it counted once."""
        gradients = [m.grad for m in self.masters if m.grad is not None]
        # on the CPU torch sums float32 one after the other: 1e-4 is lost in a million elements
        dtype = torch.float64 if gradients[0].device.type == "cpu" else None
        norms = torch._foreach_norm(gradients, 2, dtype)
        squares = torch.stack(list(norms)).double().square()
        squares /= torch.tensor(self.num_copies, dtype=torch.float64, device=squares.device)
        total = squares.sum()
        dist.all_reduce(total)
        return total.sqrt().float()

    def spread(self, workers: Workers) -> "RankMapper":
        """Return what measures the model on many pieces: the result is the same on every rank."""
        return RankMapper(self.root, self.ranks)

    def state(self) -> dict[str, Tensor]:
        """Return masters and moments as DTensors by their published names, and the step count."""
        tensors: dict[str, Tensor] = {"step": self.adamw.state[self.masters[0]]["step"]}
        for i, name in enumerate(self.names):
            tensors[f"master.{name}"] = self.shards[i]
            for kind, moments in self.moments.items():
                tensors[f"{kind}.{name}"] = moments[i]
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state of the same model, saved by any number of ranks or by one process.

        Raises:
            KeyError: if a tensor is missing.
        """
        reshard(self.root)
        state = self.state()
        fill_state(state, tensors, self.layout)
        for master in self.masters:
            self.adamw.state[master]["step"].copy_(state["step"])


class DataRanks:
    """Which rank works on which micro-batches, and the way to one list on all of them."""

    def __init__(self, mesh: DeviceMesh) -> None:
        """Make the group of ranks that hold different micro-batches; all ranks must call it."""
        self.rank, self.size = data_rank(mesh), data_size(mesh)
        self.group = mesh["replicate", "shard"]._flatten("data").get_group()
        self._complained = False

    def places(self, count: int) -> Iterator[tuple[int, bool]]:
        """Yield the places this rank works on, and whether each counts; equally many on all ranks.

        A rank with fewer than others takes its last (or, if it has none, the last of all) again.
        """
        for turn in range(-(-count // self.size)):
            place = turn * self.size + self.rank
            if place < count:
                yield place, True
            else:
                yield max(place - self.size, 0) if turn else count - 1, False

    def gather(self, own: Sequence[Found], count: int) -> list[Found]:
        """Return what all ranks found, in the order of the `count` places."""
        if self.size == 1:
            return list(own)
        tables = self._gather_scalars(own)
        if tables is None:
            lists: list[Any] = [None] * self.size
            dist.all_gather_object(lists, list(own), group=self.group)
            tables = lists
        return [tables[place % self.size][place // self.size] for place in range(count)]

    def _gather_scalars(self, own: Sequence[Found]) -> list[list[Found]] | None:
        """Return each rank's list where all leaves are numbers on the device, without a copy to us.

        Whether they are is the same on every rank, since all run the same `loss_of`.
        """
        flat = [tree_flatten(found) for found in own]
        leaves = [leaf for found, _ in flat for leaf in found]
        if not all(isinstance(leaf, Tensor) and leaf.ndim == 0 for leaf in leaves):
            return None
        if len({(leaf.dtype, leaf.device) for leaf in leaves}) != 1:
            return None
        mine = torch.stack(leaves)
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine, group=self.group)
        spec, width = flat[0][1], len(flat[0][0])
        return [
            [tree_unflatten(list(part[i : i + width]), spec) for i in range(0, len(part), width)]
            for part in parts
        ]

    def complain_of_idleness(self, count: int) -> None:
        """Say once that some ranks have nothing to work on."""
        if count < self.size and not self._complained:
            self._complained = True
            warn(
                f"a step has {count} micro-batches for {self.size} data ranks, so some repeat work "
                "that doesn't count; make micro-batches smaller"
            )


class RankMapper:
    """All data ranks as one worker pool, for measuring; has the interface of `Workers.map`."""

    def __init__(self, root: Root, ranks: DataRanks) -> None:
        """Take the module to run in and the ranks."""
        self.root, self.ranks = root, ranks

    @torch.no_grad()
    def map(self, function: Callable[..., Found], *items: Iterable[Any]) -> Iterator[Found]:
        """Return an iterator over `function` of each item (of one item of each iterable)."""
        pieces = list(zip(*items, strict=True))
        own = [self.root(function, *pieces[place]) for place, _ in self.ranks.places(len(pieces))]
        reshard(self.root)
        return iter(self.ranks.gather(own, len(pieces)))


def _as_dtensor(tensor: Tensor) -> DTensor:
    detached = tensor.detach()
    assert isinstance(detached, DTensor), "sharded parameters and their gradients are DTensors"
    return detached


def _num_copies(shard: DTensor, num_ranks: int) -> int:
    """Return how many ranks hold each element."""
    mesh = shard.device_mesh
    sizes = [mesh.size(i) for i, p in enumerate(shard.placements) if not p.is_replicate()]
    return num_ranks // math.prod(sizes)
