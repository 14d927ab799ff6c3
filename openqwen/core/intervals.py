"""Confidence intervals that every comparison prints beside its n.

mean, half_width = mean_interval([0.1, 0.3, 0.2])      # 95 %, Student's t
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

# two-sided 95 % quantiles of Student's t for 1 … 30 degrees of freedom; beyond, a close formula
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def t_quantile_95(degrees: int) -> float:
    """Return the two-sided 95 % quantile of Student's t, right to 0.001.

    Raises:
        ValueError: below one degree of freedom.
    """
    if degrees < 1:
        raise ValueError(f"an interval needs at least 2 values, got {degrees + 1}")
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half-width of its 95 % interval; infinite for a single value.

    Raises:
        ValueError: if there is no value.
    """
    if not values:
        raise ValueError("no values to take the mean of")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    return mean, t_quantile_95(len(values) - 1) * error


def share_interval(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score (1927); half successes are ties.

    Raises:
        ValueError: if `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"a share needs at least one trial, got {n}")
    z = 1.959964
    share = successes / n
    center = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (max(0.0, (center - half) / scale), min(1.0, (center + half) / scale))


def measured_share(name: str, successes: float, n: int) -> dict[str, Any]:
    """Return a share under its name and its interval, rounded to four digits, for a JSON file."""
    interval = [round(x, 4) for x in share_interval(successes, n)]
    return {name: round(successes / n, 4), "interval": interval}
