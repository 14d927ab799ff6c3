"""Logistic regression on sparse rows, and turning its margins into probabilities.

    weights_F, bias = fit_logistic(rows, is_good_D, l2=1e-3)
    slope, offset = fit_platt(margins_D, is_good_D)         # p = 1 / (1 + exp(-(slope m + offset)))

Both classes weigh the same in all, however many samples each has. Full-batch L-BFGS (Nocedal 1980)
in float64: the same samples give the same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

MEMORY = 8  # steps that L-BFGS remembers
TOLERANCE = 1e-3  # of the gradient's norm, relative to the first


@dataclass(frozen=True, slots=True)
class SparseRows:
    """D rows of features, one after the other."""

    places_V: NDArray[np.int64]
    values_V: Floats
    starts_D: NDArray[np.int64]  # where each row begins; none is empty
    size: int  # number of features

    @classmethod
    def of(cls, rows: list[tuple[NDArray[np.int64], Floats]], size: int) -> "SparseRows":
        """Join rows of (places, values)."""
        lengths = np.array([len(places) for places, _ in rows])
        return cls(
            np.concatenate([places for places, _ in rows]),
            np.concatenate([values for _, values in rows]),
            np.cumsum(lengths) - lengths,
            size,
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return (D,) the number of features of each row."""
        return np.diff(np.append(self.starts_D, len(self.places_V)))

    def select(self, keep_D: NDArray[np.bool_]) -> "SparseRows":
        """Return some of the rows."""
        kept_V = np.repeat(keep_D, self.lengths)
        lengths = self.lengths[keep_D]
        return SparseRows(
            self.places_V[kept_V], self.values_V[kept_V], np.cumsum(lengths) - lengths, self.size
        )

    def dot(self, weights_F: Floats) -> Floats:
        """Return (D,) the product of each row with the weights."""
        return np.add.reduceat(weights_F[self.places_V] * self.values_V, self.starts_D)

    def dot_transposed(self, factors_D: Floats) -> Floats:
        """Return (F,) the sum of rows times their factors."""
        spread = np.repeat(factors_D, self.lengths) * self.values_V
        sums_F = np.bincount(self.places_V, spread, minlength=self.size)
        return np.asarray(sums_F, dtype=np.float64)


def balanced_weights(is_good_D: NDArray[np.bool_]) -> Floats:
    """Return (D,) weights that sum to ½ for each class."""
    good = int(is_good_D.sum())
    return np.where(is_good_D, 0.5 / max(1, good), 0.5 / max(1, len(is_good_D) - good))


def fit_logistic(
    rows: SparseRows, is_good_D: NDArray[np.bool_], *, l2: float, max_steps: int = 60
) -> tuple[Floats, float]:
    """Return the weights and the bias that minimise mean log loss + l2/2 |weights|²."""
    signs_D = np.where(is_good_D, 1.0, -1.0)
    shares_D = balanced_weights(is_good_D)

    def objective(point: Floats) -> tuple[float, Floats]:
        weights = point[:-1]
        margins_D = signs_D * (rows.dot(weights) + point[-1])
        loss = inner(shares_D, np.logaddexp(0.0, -margins_D)) + 0.5 * l2 * inner(weights, weights)
        slopes_D = -signs_D * shares_D * sigmoid(-margins_D)
        gradient = np.append(rows.dot_transposed(slopes_D) + l2 * weights, slopes_D.sum())
        return loss, gradient

    point = minimise(objective, np.zeros(rows.size + 1), max_steps=max_steps)
    return point[:-1], float(point[-1])


def fit_platt(margins_D: Floats, is_good_D: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of a probability for margins of samples not trained on (Platt 1999).

    The targets are drawn in, (n+1)/(n+2) and 1/(n+2), so that a clean separation stays finite, and
    the slope is at least 0: margins that tell nothing give one probability for all.
    """
    good = int(is_good_D.sum())
    high, low = (good + 1) / (good + 2), 1 / (len(is_good_D) - good + 2)
    targets_D = np.where(is_good_D, high, low)
    shares_D = balanced_weights(is_good_D)
    scale = float(np.abs(margins_D).max()) or 1.0
    scaled_D = margins_D / scale

    def objective(point: Floats) -> tuple[float, Floats]:
        logits_D = point[0] * scaled_D + point[1]
        losses_D = np.logaddexp(0.0, logits_D) - targets_D * logits_D
        slopes_D = shares_D * (sigmoid(logits_D) - targets_D)
        slopes = [inner(slopes_D, scaled_D), float(slopes_D.sum())]
        return inner(shares_D, losses_D), np.array(slopes)

    slope, offset = minimise(objective, np.zeros(2), max_steps=200)
    if slope <= 0:
        mean = inner(targets_D, shares_D)
        return 0.0, float(np.log(mean / (1 - mean)))
    return float(slope / scale), float(offset)


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-logits)) without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def inner(one_F: Floats, other_F: Floats) -> float:
    """Return the inner product, summed in one order: BLAS' depends on the number of threads."""
    return float(np.einsum("f,f->", one_F, other_F))


def norm(vector_F: Floats) -> float:
    """Return the length of a vector."""
    return float(np.sqrt(inner(vector_F, vector_F)))


def minimise(objective: Objective, start: Floats, *, max_steps: int) -> Floats:
    """Return a point where a smooth function is smallest, by L-BFGS with backtracking.

    Args:
        objective: gives value and gradient.
        start: where to begin.
        max_steps: steps at most.
    """
    point, (value, gradient) = start, objective(start)
    first_norm = norm(gradient)
    history: list[tuple[Floats, Floats]] = []
    for _ in range(max_steps):
        if norm(gradient) <= TOLERANCE * first_norm:
            break
        direction = _direction(gradient, history)
        slope = inner(direction, gradient)
        step = 1.0 if history else 1.0 / max(norm(gradient), 1e-12)
        for _ in range(40):
            new_point = point + step * direction
            new_value, new_gradient = objective(new_point)
            if new_value <= value + 1e-4 * step * slope:
                break
            step /= 2
        else:
            break  # no smaller value within rounding
        moved, turned = new_point - point, new_gradient - gradient
        if inner(moved, turned) > 1e-12 * inner(turned, turned):
            history = [*history[-(MEMORY - 1) :], (moved, turned)]
        point, value, gradient = new_point, new_value, new_gradient
    return point


def _direction(gradient: Floats, history: list[tuple[Floats, Floats]]) -> Floats:
    """Return where L-BFGS goes: the gradient through the remembered curvature, turned round."""
    direction = -gradient
    factors = []
    for moved, turned in reversed(history):
        factor = inner(moved, direction) / inner(moved, turned)
        direction = direction - factor * turned
        factors.append(factor)
    if history:
        moved, turned = history[-1]
        direction = direction * (inner(moved, turned) / inner(turned, turned))
    for (moved, turned), factor in zip(history, reversed(factors), strict=True):
        direction = direction + moved * (factor - inner(turned, direction) / inner(moved, turned))
    return direction
