"""Every layout a job could have, priced, and the one to take.

plan = search(job)
plan.best.layout.describe()        # "shard 64, micro-batch 4, recompute none"
plan.rejected[0].reason            # "needs 91.2 GiB of 80.0 …"
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from openqwen.core.errors import UserError
from openqwen.parallel.plan_devices import GIB
from openqwen.parallel.plan_layout import Job, Layout
from openqwen.parallel.plan_memory import Memory, memory_of, rows_of
from openqwen.parallel.plan_speed import Speed, speed_of

MAX_MICRO_SEQUENCES = 64
MIN_TOKENS_A_RANK = (
    1024  # of a sequence that context parallel cuts: below it products get too small
)
ENOUGH_TOKENS = 4096  # of a micro-batch on one device: below it products get too small
CLOSE = 0.01  # speeds this near count as equal: the simpler mesh wins


@dataclass(frozen=True)
class Option:
    """One layout with its price."""

    layout: Layout
    memory: Memory
    speed: Speed


@dataclass(frozen=True)
class Rejected:
    """A mesh that cannot be used, and why, in one line."""

    layout: Layout
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a search found.

    Attributes:
        job: what was planned.
        options: the best micro-batch and recomputation of every mesh that fits, fastest first.
        rejected: the other meshes.
    """

    job: Job
    options: list[Option]
    rejected: list[Rejected]

    @property
    def best(self) -> Option:
        """Return the fastest; among equals the one of fewest axes, then of least memory."""
        fastest = self.options[0].speed.expected.tokens_per_s
        near = [o for o in self.options if o.speed.expected.tokens_per_s >= (1 - CLOSE) * fastest]
        return min(near, key=lambda o: (_axes(o.layout), o.memory.total))


def search(job: Job) -> Plan:
    """Price every mesh of the job's devices.

    Raises:
        UserError: if no mesh divides the batch or none fits, with the nearest miss.
    """
    options, rejected, nearest = [], [], None
    for mesh in meshes(job):
        reason = why_not(job, mesh)
        if reason:
            rejected.append(Rejected(mesh, reason))
            continue
        option = best_of_mesh(job, mesh)
        if fits(job, option):
            options.append(option)
            continue
        rejected.append(Rejected(option.layout, _too_large(job, option)))
        if nearest is None or option.memory.total < nearest.memory.total:
            nearest = option
    if not options:
        raise UserError(_nothing_fits(job, nearest))
    options.sort(key=lambda o: -o.speed.expected.tokens_per_s)
    return Plan(job, options, rejected)


def price(job: Job, layout: Layout) -> Option:
    """Return one layout with its price, whether it fits or not."""
    return Option(layout, memory_of(job, layout), speed_of(job, layout))


def fits(job: Job, option: Option) -> bool:
    """Return whether a layout's memory, the reserve included, is there."""
    return option.memory.total <= job.device.memory_bytes


def best_of_mesh(
    job: Job, mesh: Layout, *, micro: int | None = None, recompute: str | None = None
) -> Option:
    """Return the fastest micro-batch and recomputation that fit; where none does, the smallest.

    Args:
        job: the job.
        mesh: its axes are kept.
        micro: sequences a micro-batch, where given.
        recompute: none or layer, where given.
    """
    a_rank = job.sequences_per_step // mesh.data_ranks
    sizes = [micro] if micro else [n for n in _powers(MAX_MICRO_SEQUENCES) if a_rank % n == 0]
    ways = [recompute] if recompute else ["none", "layer"]
    found = [
        price(job, replace(mesh, micro_sequences=size, recompute=way))
        for way in ways
        for size in sizes
    ]
    fitting = [option for option in found if fits(job, option)]
    if not fitting:
        return min(found, key=lambda option: option.memory.total)
    fastest = max(option.speed.expected.tokens_per_s for option in fitting)
    near = [o for o in fitting if o.speed.expected.tokens_per_s >= (1 - CLOSE) * fastest]
    return min(near, key=lambda o: (-min(ENOUGH_TOKENS, rows_of(job, o.layout)), o.memory.total))


def meshes(job: Job) -> Iterator[Layout]:
    """Yield every way to split the devices over the mesh's axes that could make sense."""
    num = job.num_devices
    for tensor in _divisors(num):
        if tensor > job.device.devices_per_node:
            break  # tensor parallel waits for every sum: it stays in a node
        for context in _divisors(num // tensor):
            if context > 1 and job.context_length // context < MIN_TOKENS_A_RANK:
                break
            data = num // (tensor * context)
            for replicate in _divisors(data):
                yield Layout(
                    replicate=replicate, shard=data // replicate, context=context, tensor=tensor
                )


def why_not(job: Job, mesh: Layout) -> str:
    """Return why a mesh cannot run the job whatever its memory; empty where it can."""
    config, tensor = job.config, mesh.tensor
    for name, size in (
        ("attention heads", config.num_attention_heads),
        ("key and value heads", config.num_key_value_heads),
        ("FFN width", config.intermediate_size),
        ("vocabulary rows", config.vocab_size),
    ):
        if size % tensor:
            return f"tensor = {tensor} does not divide {size:,} {name}"
    if job.context_length % (2 * mesh.context) and mesh.context > 1:
        return f"context = {mesh.context} does not cut {job.context_length:,} tokens evenly"
    if job.sequences_per_step % mesh.data_ranks:
        return (
            f"{mesh.data_ranks} data ranks do not divide {job.sequences_per_step:,} sequences a "
            "step"
        )
    return ""


def _too_large(job: Job, option: Option) -> str:
    """Return how much is missing and what takes most of it."""
    memory = option.memory
    parts = memory.parts()
    largest = max(parts, key=lambda name: parts[name])
    return (
        f"needs {memory.total / GIB:,.1f} GiB of {job.device.memory_bytes / GIB:,.1f} even with "
        f"micro-batch {option.layout.micro_sequences} and recompute {option.layout.recompute}; "
        f"most is {largest} ({parts[largest] / GIB:,.1f})"
    )


def _nothing_fits(job: Job, nearest: Option | None) -> str:
    """Return the one line for a job without a layout."""
    if nearest is None:
        return (
            f"--batch-tokens: {job.sequences_per_step:,} sequences of {job.context_length:,} "
            f"tokens can't be shared out over {job.num_devices} devices; take a multiple of "
            f"{job.num_devices * job.context_length:,} tokens"
        )
    return (
        f"no layout of {job.num_devices} × {job.device.name} holds this model; the smallest, "
        f"{nearest.layout.describe_mesh()}, {_too_large(job, nearest)}: take more devices, or ones "
        "with more memory"
    )


def _axes(layout: Layout) -> int:
    return sum(n > 1 for n in (layout.replicate, layout.shard, layout.context, layout.tensor))


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _powers(limit: int) -> list[int]:
    return [1 << n for n in range(limit.bit_length())]
