"""What is planned: a job (model, devices, batch) and one layout of it over the devices."""

from dataclasses import dataclass

from openqwen.model.config import ModelConfig, count_non_embedding_parameters
from openqwen.parallel.plan_devices import Device


@dataclass(frozen=True)
class Job:
    """One training run to plan.

    Attributes:
        config: the decoder.
        device: what it runs on.
        num_devices: of them.
        context_length: tokens a sequence.
        sequences_per_step: over all devices.
    """

    config: ModelConfig
    device: Device
    num_devices: int
    context_length: int
    sequences_per_step: int

    @property
    def tokens_per_step(self) -> int:
        """Return the tokens of one optimiser step."""
        return self.sequences_per_step * self.context_length

    @property
    def flops_per_token(self) -> float:
        """Return training FLOPs a token: 6·(non-embedding + V·D) + 6·L·T·D, attention causal."""
        return 6 * (self.weights_per_token + self.attention_per_token)

    @property
    def weights_per_token(self) -> int:
        """Return the parameters that work on every token: all but the embedding's table."""
        config = self.config
        return count_non_embedding_parameters(config) + config.vocab_size * config.hidden_size

    @property
    def attention_per_token(self) -> int:
        """Return the multiply-adds of attention a token: L·T·H·E, half of them for each product."""
        config = self.config
        width = config.num_attention_heads * config.head_dim
        return config.num_hidden_layers * self.context_length * width


@dataclass(frozen=True)
class Layout:
    """How one job is spread; the axes are the mesh's, from the outermost to the innermost."""

    replicate: int = 1
    shard: int = 1
    context: int = 1
    tensor: int = 1
    micro_sequences: int = 1
    recompute: str = "none"

    @property
    def num_devices(self) -> int:
        """Return the size of the mesh."""
        return self.replicate * self.shard * self.context * self.tensor

    @property
    def data_ranks(self) -> int:
        """Return how many groups of devices see different sequences."""
        return self.replicate * self.shard

    @property
    def shards(self) -> int:
        """Return over how many devices FSDP cuts each parameter."""
        return self.shard * self.context

    def describe_mesh(self) -> str:
        """Return the mesh as the settings of `ParallelConfig` name it, without axes of one."""
        axes = ("replicate", "shard", "context", "tensor")
        named = [f"{axis} {getattr(self, axis)}" for axis in axes if getattr(self, axis) > 1]
        return " × ".join(named) or "one device"

    def describe(self) -> str:
        """Return mesh, micro-batch and recompute in one line."""
        return (
            f"{self.describe_mesh()}, micro-batch {self.micro_sequences}, "
            f"recompute {self.recompute}"
        )


def num_micro_batches(job: Job, layout: Layout) -> int:
    """Return the micro-batches a data rank works on in one step."""
    return job.sequences_per_step // (layout.data_ranks * layout.micro_sequences)
