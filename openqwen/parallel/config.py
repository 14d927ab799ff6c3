"""How training is spread over ranks and what is saved by computing it again; light to import."""

from typing import ClassVar

from openqwen.core.config import Config, setting


class ParallelConfig(Config):
    """The mesh of ranks, recomputation and compilation; none of it changes what is learnt."""

    replicate: int = setting(1, "replicas of the sharded model (hybrid sharding)", ge=1)
    shard: int = setting(
        0, "ranks that share one replica's parameters (FSDP2); 0: all that are left", ge=0
    )
    context: int = setting(1, "ranks that share one sequence's tokens", ge=1)
    tensor: int = setting(1, "ranks that share each matrix", ge=1)
    context_exchange: str = setting(
        "gather",
        "how keys and values reach the ranks of a sequence: gather or ring",
        pattern="^(gather|ring)$",
    )
    recompute: str = setting(
        "none",
        "layer: keep each layer's input only and compute the rest again in the backward pass",
        pattern="^(none|layer)$",
    )
    compile: bool = setting(False, "compile each layer with torch.compile")

    how_only: ClassVar[frozenset[str]] = frozenset(
        ("replicate", "shard", "context", "tensor", "context_exchange", "recompute", "compile")
    )
