"""What one step sends: bytes and seconds of each collective, by axis of the mesh.

A group of ranks is laid over nodes as torchrun numbers them: the innermost axis lies side by side.
Each collective is a ring over the group; a byte that enters a node comes over the network cards of
that node's members of the group, and reaches the others over the node's own links, both at once.
"""

from dataclasses import dataclass

from openqwen.model.config import count_layer_parameters
from openqwen.parallel.plan_devices import Device
from openqwen.parallel.plan_layout import Job, Layout, num_micro_batches

COMPUTE_BYTES = 2  # bfloat16: gathered parameters, activations and their gradients
REDUCE_BYTES = 4  # float32: gradients are summed in it
# NCCL's own cost model (src/graph/tuning.cc, hwLat): a hop of a ring, protocol Simple
NODE_HOP_S = 3.4e-6
NETWORK_HOP_S = 14e-6


@dataclass(frozen=True)
class Group:
    """Ranks that talk to each other.

    Attributes:
        size: how many.
        stride: distance of neighbours in the numbering of all ranks.
        device: whose links they use.
    """

    size: int
    stride: int
    device: Device

    @property
    def members_per_node(self) -> int:
        """Return how many of them stand in one node."""
        return max(1, min(self.size, self.device.devices_per_node // self.stride))

    @property
    def nodes(self) -> int:
        """Return over how many nodes they are spread."""
        return -(-self.size // self.members_per_node)

    def gather_s(self, total_bytes: float, efficiency: float) -> float:
        """Return the time of an all-gather to, or a reduce-scatter from, `total_bytes` a rank."""
        if self.size == 1:
            return 0.0
        device, here, nodes = self.device, self.members_per_node, self.nodes
        times = [0.0]
        if here > 1:
            share = (self.size - 1) / self.size
            times.append(total_bytes * share / device.intra_node_bytes_per_s)
        if nodes > 1:
            rate = here * device.inter_node_bytes_per_s
            times.append(total_bytes * (nodes - 1) / nodes / rate)
        hops = (self.size - nodes) * NODE_HOP_S + (nodes if nodes > 1 else 0) * NETWORK_HOP_S
        return max(times) / efficiency + hops


@dataclass(frozen=True)
class Traffic:
    """One kind of collective in one step.

    Attributes:
        axis: whose ranks take part: shard (with context), replicate, context or tensor.
        what: one line for people.
        group: the ranks.
        total_bytes: of one call, whole: what each rank has after a gather.
        calls_per_step: how often.
        passes: 2 for an all-reduce, which is a reduce-scatter and a gather.
        can_overlap: whether computing can go on meanwhile.
    """

    axis: str
    what: str
    group: Group
    total_bytes: float
    calls_per_step: int
    passes: int
    can_overlap: bool

    @property
    def bytes_per_step(self) -> float:
        """Return the bytes each rank receives in one step."""
        share = (self.group.size - 1) / self.group.size
        return self.total_bytes * share * self.passes * self.calls_per_step

    def seconds_per_step(self, efficiency: float) -> float:
        """Return the time on the links at that share of their rate."""
        return self.calls_per_step * self.passes * self.group.gather_s(self.total_bytes, efficiency)


def traffic_of(job: Job, layout: Layout) -> list[Traffic]:
    """Return every collective of one step of a layout, axes of one rank left out."""
    found = _sharding(job, layout) + _replicas(job, layout)
    found += _tensor(job, layout) + _context(job, layout)
    return [traffic for traffic in found if traffic.group.size > 1]


def _sharding(job: Job, layout: Layout) -> list[Traffic]:
    """FSDP: each layer gathered forward and backward, its gradient scattered, every micro-batch."""
    config, micros = job.config, num_micro_batches(job, layout)
    group = Group(layout.shards, layout.tensor, job.device)
    layer = count_layer_parameters(config) / layout.tensor
    tables = 1 if config.tie_word_embeddings else 2
    root = tables * config.vocab_size * config.hidden_size / layout.tensor
    layers = config.num_hidden_layers
    return [
        Traffic(
            "shard", "gather layers", group, COMPUTE_BYTES * layer, 2 * layers * micros, 1, True
        ),
        Traffic(
            "shard", "scatter gradients", group, REDUCE_BYTES * layer, layers * micros, 1, True
        ),
        Traffic("shard", "gather vocabulary", group, COMPUTE_BYTES * root, micros, 1, False),
        Traffic("shard", "scatter vocabulary", group, REDUCE_BYTES * root, micros, 1, True),
    ]


def _replicas(job: Job, layout: Layout) -> list[Traffic]:
    """Hybrid sharding: each rank's piece of the gradient is summed over the replicas."""
    config = job.config
    group = Group(layout.replicate, layout.shards * layout.tensor, job.device)
    tables = 1 if config.tie_word_embeddings else 2
    parameters = config.num_hidden_layers * count_layer_parameters(config)
    parameters += tables * config.vocab_size * config.hidden_size
    calls = config.num_hidden_layers * num_micro_batches(job, layout)
    piece = REDUCE_BYTES * parameters / (layout.shards * layout.tensor)
    per_call = piece / config.num_hidden_layers
    return [Traffic("replicate", "sum gradients", group, per_call, calls, 2, True)]


def _tensor(job: Job, layout: Layout) -> list[Traffic]:
    """Tensor parallel: two sums of activations a layer forward, two backward, nothing hidden."""
    config = job.config
    group = Group(layout.tensor, 1, job.device)
    rows = layout.micro_sequences * job.context_length / layout.context
    activation = COMPUTE_BYTES * rows * config.hidden_size
    passes_over_layers = 3 if layout.recompute == "layer" else 2
    calls = 2 * passes_over_layers * config.num_hidden_layers + 2
    calls *= num_micro_batches(job, layout)
    return [Traffic("tensor", "sum activations", group, activation, calls, 2, False)]


def _context(job: Job, layout: Layout) -> list[Traffic]:
    """Context parallel: keys and values gathered in each layer, their gradients scattered."""
    config = job.config
    group = Group(layout.context, layout.tensor, job.device)
    width = 2 * config.num_key_value_heads * config.head_dim / layout.tensor
    elements = layout.micro_sequences * job.context_length * width
    calls = config.num_hidden_layers * num_micro_batches(job, layout)
    forward = calls * (2 if layout.recompute == "layer" else 1)
    gathered, scattered = COMPUTE_BYTES * elements, REDUCE_BYTES * elements
    return [
        Traffic("context", "gather keys, values", group, gathered, forward, 1, False),
        Traffic("context", "scatter their gradients", group, scattered, calls, 1, False),
    ]
