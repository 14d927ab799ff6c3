"""The ranks of a run: their process group, opened and closed here only, and the mesh over them.

    with process_group(device):
        mesh = open_mesh(config.parallel, device)     # axes replicate, shard, context, tensor
        data_rank(mesh), data_size(mesh)              # whose micro-batches a rank works on

gloo carries tensors on the CPU, NCCL those on CUDA.
"""

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous

from openqwen.core.errors import PartDone, UserError
from openqwen.core.runtime import count_processors, is_launched, launch_attempt, local_world_size
from openqwen.parallel.config import ParallelConfig

AXES = ("replicate", "shard", "context", "tensor")
SHARDING = "shard_context"  # the axes that share the parameters, as one
Result = TypeVar("Result")
TIMEOUT = timedelta(minutes=30)  # of a collective: a validation or an export on one rank is shorter


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Hold the launcher's process group open inside the block; nothing happens without one.

    A group that is open already stays open. Where the block fails the group is left to the
    process's end, since the other ranks may be waiting inside a collective.
    """
    opens = is_launched() and not dist.is_initialized()
    if opens:
        open_process_group(device)
    yield
    if opens:
        _host_group.cache_clear()
        gc.collect()  # gloo's groups must end before the interpreter does: models hold them, too
        dist.destroy_process_group()


def open_process_group(device: torch.device) -> None:
    """Join the launcher's process group; where ranks meet is in the environment.

    torchrun may keep the meeting's store when it starts all ranks anew; the addresses in it are
    then those of dead processes, so each attempt has names of its own.
    """
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    store = PrefixStore(f"attempt-{launch_attempt()}", store)
    joins = partial(
        dist.init_process_group, store=store, rank=rank, world_size=size, timeout=TIMEOUT
    )
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # gloo beside it: checkpoints and what is gathered for logs travel between CPUs
        joins("cpu:gloo,cuda:nccl", device_id=device)
    else:
        joins("gloo")


def host_group() -> dist.ProcessGroup:
    """Return a gloo group of all ranks of its own, for what goes on beside training.

    Every rank must ask for it first at the same point of its work.
    """
    assert dist.group.WORLD is not None, "the process group is open"
    return _host_group(dist.group.WORLD)


@functools.lru_cache(maxsize=1)
def _host_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=TIMEOUT)
    assert isinstance(group, dist.ProcessGroup), "every rank is in it"
    return group


def leave_to_first() -> None:
    """Wait for every rank to come here; only the first goes on.

    Raises:
        PartDone: on all other ranks.
    """
    dist.barrier(group=host_group())
    if dist.get_rank():
        raise PartDone


def of_first(work: Callable[[], Result]) -> Result:
    """Return what `work` returns on the first rank, on all of them; only there it runs."""
    box = [work() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0, group=host_group())
    found: Result = box[0]  # type: ignore[assignment]
    return found


def mesh_sizes(config: ParallelConfig, num_ranks: int) -> tuple[int, int, int, int]:
    """Return the size of each of `AXES`; `shard` = 0 becomes all that the others leave.

    Raises:
        UserError: if the sizes do not multiply to the number of ranks.
    """
    others = config.replicate * config.context * config.tensor
    shard = config.shard or num_ranks // others
    if others * shard != num_ranks:
        raise UserError(
            f"parallel: replicate = {config.replicate}, shard = {config.shard}, context = "
            f"{config.context}, tensor = {config.tensor} do not multiply to {num_ranks} ranks; "
            "change them or the launcher's number of processes"
        )
    return config.replicate, shard, config.context, config.tensor


def open_mesh(config: ParallelConfig, device: torch.device) -> DeviceMesh:
    """Return the mesh of all ranks with `AXES`, each of which may be 1; opens the group if need be.

    On the CPU each rank takes its share of the machine's processors.

    Raises:
        UserError: if the sizes do not multiply to the number of ranks.
    """
    if not dist.is_initialized():
        open_process_group(device)
    sizes = mesh_sizes(config, dist.get_world_size())
    if device.type == "cpu":
        torch.set_num_threads(max(1, count_processors() // local_world_size()))
    return init_device_mesh(device.type, sizes, mesh_dim_names=AXES)


def data_rank(mesh: DeviceMesh) -> int:
    """Return which micro-batches this rank works on, of `data_size`."""
    return mesh.get_local_rank("replicate") * mesh["shard"].size() + mesh.get_local_rank("shard")


def data_size(mesh: DeviceMesh) -> int:
    """Return how many ranks work on micro-batches of their own: replicate x shard."""
    return mesh["replicate"].size() * mesh["shard"].size()


def data_leaders(mesh: DeviceMesh) -> list[int]:
    """Return one global rank for each data rank, in their order."""
    return [int(r) for r in mesh.mesh[:, :, 0, 0].flatten().tolist()]


def sharding_mesh(mesh: DeviceMesh) -> DeviceMesh:
    """Return the mesh for FSDP2: shard and context as one axis, under replicate where that is > 1.

    Every rank must call it at the same time, since groups are made.
    """
    shards = mesh["shard"]
    if mesh["context"].size() > 1:
        shards = mesh["shard", "context"]._flatten(SHARDING)
    if mesh["replicate"].size() == 1:
        return shards
    return DeviceMesh._concatenate([mesh["replicate"], shards])
