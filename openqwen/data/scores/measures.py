"""The area under the ROC curve and its interval.

area = area_under_curve(scores_of_good, scores_of_bad)
low, high = area_interval(area, num_good, num_bad)
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964
Scores = Sequence[float] | NDArray[np.float64]


def area_under_curve(good: Scores, bad: Scores) -> float:
    """Return how often a good text scores above a bad one, ties half (Mann & Whitney 1947).

    Raises:
        ValueError: if a side is empty.
    """
    if not len(good) or not len(bad):
        raise ValueError("an area needs scores of both classes")
    values = np.concatenate([np.asarray(good, float), np.asarray(bad, float)])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share their mean rank
    n = len(good)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(bad)))


def area_interval(area: float, num_good: int, num_bad: int) -> tuple[float, float]:
    """Return the 95 % interval of an area by Newcombe's method 5 (2006), sound at 1 too.

    It holds the areas from which the one seen lies within 1.96 of their own standard errors, these
    by Hanley and McNeil (1982) with both classes' mean size.
    """

    def is_within(true: float) -> bool:
        spread = (1 - true) / (2 - true) + true / (1 + true)
        size = (num_good + num_bad) / 2 - 1
        variance = true * (1 - true) * (1 + size * spread) / (num_good * num_bad)
        return abs(area - true) <= Z_95 * math.sqrt(max(0.0, variance))

    return _edge(is_within, area, 0.0), _edge(is_within, area, 1.0)


def _edge(is_within: Callable[[float], bool], inside: float, outside: float) -> float:
    """Return where `is_within` changes between two points, by bisection."""
    if is_within(outside):
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        if is_within(middle):
            inside = middle
        else:
            outside = middle
    return inside
