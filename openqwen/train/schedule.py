"""Learning rate by step: linear warm-up, then a cosine (§2.4) or a constant (§3, §4)."""

import math

from openqwen.train.config import TrainingConfig


def learning_rate_at(
    step: int, config: TrainingConfig, *, num_steps: int = 0, peak: float = 0.0
) -> float:
    """Return the learning rate of the optimiser's step number `step`, counted from 0.

    The first step already moves (warm-up ends at step `warmup_steps - 1` with the peak) and, on a
    cosine, the last one, `num_steps - 1`, uses the final share of the peak; a run shorter than its
    warm-up ends on the way up.

    Args:
        step: counted from 0.
        config: the schedule.
        num_steps: in place of the settings', where epochs decide it; 0 keeps theirs.
        peak: in place of the settings' learning rate; 0 keeps theirs.
    """
    peak = peak or config.learning_rate
    final = peak * config.final_learning_rate_share
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return peak
    span = (num_steps or config.num_steps) - 1 - config.warmup_steps
    done = min(1.0, (step - config.warmup_steps) / span) if span > 0 else 1.0
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * done))
