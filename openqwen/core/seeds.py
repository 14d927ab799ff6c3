"""Random generators that depend on numbers alone: the same on every thread, run and resume.

generator = generator_for(seed, step, micro_batch)
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def generator_for(*numbers: int) -> "torch.Generator":
    """Return a CPU generator seeded by all the numbers, each at least 0, in their order."""
    import torch

    return torch.Generator().manual_seed(seed_of(*numbers))


def seed_of(*numbers: int) -> int:
    """Return a seed of 63 bits made of all the numbers, each at least 0, in their order."""
    state = np.random.SeedSequence(list(numbers)).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])
