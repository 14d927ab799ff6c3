"""What one device holds, by part, at the worst moment of a step.

Several micro-batches a step are assumed, so that gradients, too, are there all the time. Three
moments can be the worst: the loss (all that is saved for the backward pass is there), the backward
pass of a late layer, and its end, where the vocabulary's gradient is scattered.
`benchmarks/plan_validation.py` checks the parts against the project's own code, run without memory
or devices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openqwen.model.config import ModelConfig, count_parameters
from openqwen.parallel.plan_layout import Job, Layout

MASTER_BYTES = 4  # float32: masters, each moment, summed gradients
COMPUTE_BYTES = 2  # bfloat16
LOSS_BLOCK_BYTES = 64 << 20  # logits and their gradients that exist at once, float32 and bfloat16
RESERVE_BYTES = 2 << 30  # driver, CUDA context, NCCL's buffers (ours)
RESERVE_SHARE = 0.05  # of the memory: what the allocator cannot use for fragmentation (ours)
CPU_RESERVE_BYTES = 1 << 29  # the process itself


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest device.

    Attributes:
        masters: float32 parameters, this device's part.
        moments: AdamW's two.
        gradients: summed in float32, this device's part.
        gathered: whole parameters in the compute type: vocabulary and the layers in flight.
        activations: what layers and final norm save for the backward pass.
        passing: gradients on their way and what the loss needs, at the worst moment.
        reserve: driver, communication library, allocator.
        moment: when that is: "loss", "backward", "embedding" or "end of backward".
    """

    masters: int
    moments: int
    gradients: int
    gathered: int
    activations: int
    passing: int
    reserve: int
    moment: str

    @property
    def total(self) -> int:
        """Return the sum of all parts."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Return the parts by name, in the order in which they are shown."""
        names = ("masters", "moments", "gradients", "gathered", "activations", "passing", "reserve")
        return {name: getattr(self, name) for name in names}


def memory_of(job: Job, layout: Layout) -> Memory:
    """Return what the fullest device of a layout holds."""
    device = job.device
    reserve = CPU_RESERVE_BYTES if device.name == "cpu" else RESERVE_BYTES
    reserve += int(RESERVE_SHARE * device.memory_bytes)
    if job.num_devices == 1:
        return _alone(job, layout, reserve)
    own = sharded_parameters(job.config, shards=layout.shards, tensor=layout.tensor)
    moment, gathered, activations, passing = max(_moments(job, layout), key=lambda m: sum(m[1:]))
    return Memory(
        masters=MASTER_BYTES * own,
        moments=2 * MASTER_BYTES * own,
        gradients=MASTER_BYTES * own,
        gathered=gathered,
        activations=activations,
        passing=passing,
        reserve=reserve,
        moment=moment,
    )


def _moments(job: Job, layout: Layout) -> list[tuple[str, int, int, int]]:
    """Return gathered, activations and passing at each moment that can be the worst."""
    config = job.config
    vocabulary, layer = whole_parameters(config, tensor=layout.tensor)
    held, in_use = COMPUTE_BYTES * vocabulary, COMPUTE_BYTES * layer
    saved = saved_bytes(job, layout)
    one_less = saved * (config.num_hidden_layers - 1) // config.num_hidden_layers
    if layout.recompute == "layer":
        one_less += layer_saved_bytes(job, layout)
    head_gradient = COMPUTE_BYTES * config.vocab_size * config.hidden_size // layout.tensor
    rows = rows_of(job, layout)
    on_their_way = rows * _backward_bytes(config, layout.tensor)
    if layout.context > 1:  # the gradient of all keys and values, float32, and in the compute type
        kv_width = 2 * config.num_key_value_heads * config.head_dim // layout.tensor
        on_their_way += (MASTER_BYTES + COMPUTE_BYTES) * rows * layout.context * kv_width
    # what FSDP holds of a group it scatters: bfloat16 gradients and their float32 copy
    scattered = (COMPUTE_BYTES + MASTER_BYTES) * vocabulary
    # torch's DTensor works out the gradient of a split embedding whole on every rank, then cuts it
    embedding = 2 * head_gradient + COMPUTE_BYTES * config.vocab_size * config.hidden_size
    return [
        (
            "loss",
            held + in_use,
            saved + final_saved_bytes(job, layout),
            loss_bytes(job, layout),
        ),
        (
            "backward",
            held + 2 * in_use,
            one_less,
            head_gradient + in_use + MASTER_BYTES * layer + on_their_way,
        ),
        ("end of backward", 0, 0, scattered),
        *([("embedding", held, 0, embedding + MASTER_BYTES * layer)] if layout.tensor > 1 else []),
    ]


def _backward_bytes(config: ModelConfig, tensor: int) -> int:
    """Return what a layer's backward pass holds beside what was saved, bytes a token.

    The gradients of the residual stream and of one branch; or, where tensor ranks have made the
    feed-forward network's part small, those of the norm before it, four in float32, when what that
    network saved is gone.
    """
    streams = 2 * COMPUTE_BYTES * config.hidden_size
    norm = (COMPUTE_BYTES + 4 * MASTER_BYTES) * config.hidden_size
    gone = 4 * COMPUTE_BYTES * config.intermediate_size // tensor
    return max(streams, norm - gone)


def _alone(job: Job, layout: Layout, reserve: int) -> Memory:
    """One process: masters beside the model in the compute type, gradients in both types."""
    whole = count_parameters(job.config)
    again = layer_saved_bytes(job, layout) if layout.recompute == "layer" else 0
    at_loss = final_saved_bytes(job, layout) + loss_bytes(job, layout)
    at_end = COMPUTE_BYTES * whole + again
    return Memory(
        masters=MASTER_BYTES * whole,
        moments=2 * MASTER_BYTES * whole,
        gradients=MASTER_BYTES * whole,
        gathered=COMPUTE_BYTES * whole,
        activations=saved_bytes(job, layout),
        passing=max(at_loss, at_end),
        reserve=reserve,
        moment="loss" if at_loss > at_end else "backward",
    )


def rows_of(job: Job, layout: Layout) -> int:
    """Return the tokens a device works on at once."""
    return layout.micro_sequences * job.context_length // layout.context


def saved_bytes(job: Job, layout: Layout) -> int:
    """Return what all layers save for the backward pass of one micro-batch."""
    if layout.recompute == "layer":
        a_layer = COMPUTE_BYTES * job.config.hidden_size * rows_of(job, layout)  # its input
    else:
        a_layer = layer_saved_bytes(job, layout)
    return job.config.num_hidden_layers * a_layer


def layer_saved_bytes(job: Job, layout: Layout) -> int:
    """Return what one layer saves for the backward pass of one micro-batch.

    Read off `openqwen/model/backbone.py`, eager: each norm saves its float32 input, the normalised
    states and its output (a linear layer's input); attention the projections' output (whose last
    part are the values), rotated queries and keys, its result and float32 sums of exponentials; the
    feed-forward network gate, up, silu(gate) and their product. Norms are not split over tensor
    ranks. With context ranks (`openqwen/parallel/context.py`) attention saves everybody's keys and
    values, its results in blocks and again as one, and each block's mask.
    """
    config, rows = job.config, rows_of(job, layout)
    q_size = config.num_attention_heads * config.head_dim
    kv_size = config.num_key_value_heads * config.head_dim
    norms = 2 * (MASTER_BYTES + 2 * COMPUTE_BYTES) * config.hidden_size + 2 * MASTER_BYTES
    if layout.context == 1:
        attention = COMPUTE_BYTES * ((q_size + 2 * kv_size) + (q_size + kv_size) + q_size)
        masks = 0
    else:
        attention = COMPUTE_BYTES * (3 * q_size + 2 * kv_size * layout.context)
        tokens = job.context_length // layout.context
        masks = COMPUTE_BYTES * tokens * job.context_length // 2
    attention += MASTER_BYTES * config.num_attention_heads
    feed_forward = 4 * COMPUTE_BYTES * config.intermediate_size
    return rows * (norms + (attention + feed_forward) // layout.tensor) + masks


def final_saved_bytes(job: Job, layout: Layout) -> int:
    """Return what the final norm saves and the states that go into the loss."""
    a_token = (MASTER_BYTES + 2 * COMPUTE_BYTES) * job.config.hidden_size
    return a_token * rows_of(job, layout)


def loss_bytes(job: Job, layout: Layout) -> int:
    """Return what the loss holds at its peak.

    The projection's gradient, summed in float32 over blocks of rows and then cast, the states'
    gradient, and one block of logits; never all logits.
    """
    config = job.config
    weight = config.vocab_size * config.hidden_size // layout.tensor
    states = COMPUTE_BYTES * config.hidden_size * rows_of(job, layout)
    return (MASTER_BYTES + COMPUTE_BYTES) * weight + states + LOSS_BLOCK_BYTES


def whole_parameters(config: ModelConfig, *, tensor: int) -> tuple[int, int]:
    """Return how many parameters a rank holds of the root group and of one layer, unsharded."""
    root = sum(rows * columns for rows, columns in _root_shapes(config, tensor))
    layer = sum(rows * columns for rows, columns in _layer_shapes(config, tensor))
    return root, layer


def sharded_parameters(config: ModelConfig, *, shards: int, tensor: int) -> int:
    """Return how many parameters the fullest rank owns: rows are cut, the first ranks take more."""
    root = sum(-(-rows // shards) * columns for rows, columns in _root_shapes(config, tensor))
    layer = sum(-(-rows // shards) * columns for rows, columns in _layer_shapes(config, tensor))
    return root + config.num_hidden_layers * layer


def _root_shapes(config: ModelConfig, tensor: int) -> Iterator[tuple[int, int]]:
    """Yield rows and columns of embedding, projection and final norm on one tensor rank."""
    for _ in range(1 if config.tie_word_embeddings else 2):
        yield config.vocab_size // tensor, config.hidden_size
    yield config.hidden_size, 1


def _layer_shapes(config: ModelConfig, tensor: int) -> Iterator[tuple[int, int]]:
    """Yield rows and columns of a layer's parameters on one tensor rank."""
    hidden, width = config.hidden_size, config.intermediate_size // tensor
    q_size = config.num_attention_heads * config.head_dim // tensor
    kv_size = config.num_key_value_heads * config.head_dim // tensor
    for rows in (q_size, kv_size, kv_size):
        yield rows, hidden
        if config.qkv_bias:
            yield rows, 1
    yield hidden, q_size
    yield width, hidden
    yield width, hidden
    yield hidden, width
    yield hidden, 1
    yield hidden, 1
