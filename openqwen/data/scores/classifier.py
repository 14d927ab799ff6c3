"""A linear classifier of texts with calibrated probabilities, trained from good and bad samples.

    result = train_classifier(good_rows, bad_rows, ScorerTraining())
    result.classifier.probabilities(readings)       # how likely good, if both are equally frequent

Every sample is judged once by a classifier that has not seen it; from that come the accuracy, the
area under the curve and the calibration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqwen.core.intervals import share_interval
from openqwen.data.scores.config import ScorerTraining
from openqwen.data.scores.features import FeatureSpace, Places
from openqwen.data.scores.logistic import (
    Floats,
    SparseRows,
    balanced_weights,
    fit_logistic,
    fit_platt,
    inner,
    sigmoid,
)
from openqwen.data.scores.measures import area_interval, area_under_curve
from openqwen.data.scores.reading import Readings

Array = NDArray[Any]
Row = tuple[Places, Floats]  # places of features and their values
SCALE_POWER = -0.25  # of a feature's mean square: halfway between raw and equal variances (ours)


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """Weights by feature, a bias, and the line from margins to log odds."""

    space: FeatureSpace
    weights_F: Array  # float32
    bias: float
    slope: float
    offset: float

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], numbers: Mapping[str, Any]
    ) -> "LinearClassifier":
        """Return the classifier that `arrays` and `numbers` gave.

        Raises:
            KeyError: if one is missing.
            ValueError: if they don't belong together.
        """
        space, weights_F = FeatureSpace(int(numbers["num_bits"])), arrays["weights"]
        if len(weights_F) != space.size:
            raise ValueError(f"{len(weights_F)} weights for {space.size} features")
        names = ("bias", "slope", "offset")
        return cls(space, weights_F, *(float(numbers[name]) for name in names))

    def arrays(self) -> dict[str, Array]:
        """Return the weights under their name on disk."""
        return {"weights": self.weights_F}

    def numbers(self) -> dict[str, float]:
        """Return what must be kept besides the weights."""
        return {
            "num_bits": self.space.num_bits,
            "bias": self.bias,
            "slope": self.slope,
            "offset": self.offset,
        }

    def probabilities(self, readings: Readings) -> list[float]:
        """Return how likely each text is good, where good and bad are equally frequent."""
        margins_D = self.space.products(readings, self.weights_F) + self.bias
        return [float(p) for p in sigmoid(self.slope * margins_D + self.offset)]


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """A classifier and how it did on samples it had not seen."""

    classifier: LinearClassifier
    held_out_good: list[float]  # probabilities of the good samples
    measures: dict[str, Any]


def train_classifier(
    good: Sequence[Row], bad: Sequence[Row], config: ScorerTraining
) -> TrainedClassifier:
    """Return a classifier of all samples, measured by cross-validation.

    Args:
        good: features of at least two texts, no two alike, in an order that tells nothing.
        bad: likewise.
        config: size, weight decay, number of folds.
    """
    assert min(len(good), len(bad)) >= 2, "each class has two samples"
    space = FeatureSpace(config.num_bits)
    rows = SparseRows.of([*good, *bad], space.size)
    is_good_D = np.arange(len(good) + len(bad)) < len(good)
    num_folds = min(config.num_folds, len(good), len(bad))
    folds_D = np.concatenate([np.arange(len(good)), np.arange(len(bad))]) % num_folds
    margins_D = np.empty(len(is_good_D))
    for fold in range(num_folds):
        held_D = folds_D == fold
        weights_F, bias = _fit(rows.select(~held_D), is_good_D[~held_D], config.l2)
        margins_D[held_D] = rows.select(held_D).dot(weights_F) + bias
    slope, offset = fit_platt(margins_D, is_good_D)
    weights_F, bias = _fit(rows, is_good_D, config.l2)
    classifier = LinearClassifier(space, weights_F.astype(np.float32), bias, slope, offset)
    probabilities_D = sigmoid(slope * margins_D + offset)
    return TrainedClassifier(
        classifier,
        probabilities_D[is_good_D].tolist(),
        _measure(margins_D, slope, offset, is_good_D),
    )


def _fit(rows: SparseRows, is_good_D: NDArray[np.bool_], l2: float) -> tuple[Floats, float]:
    """Return weights and bias, fitted on features that are scaled towards equal variances."""
    shares_D = balanced_weights(is_good_D)
    squares_V = rows.values_V**2 * np.repeat(shares_D, rows.lengths)
    squares_F = np.bincount(rows.places_V, squares_V, minlength=rows.size)
    typical = float(np.median(squares_F[squares_F > 0]))
    scale_F = (squares_F + typical) ** SCALE_POWER
    scaled_V = rows.values_V * scale_F[rows.places_V]
    norm = np.sqrt(inner(shares_D, np.add.reduceat(scaled_V**2, rows.starts_D)))
    scaled = SparseRows(rows.places_V, scaled_V / norm, rows.starts_D, rows.size)
    weights_F, bias = fit_logistic(scaled, is_good_D, l2=l2)
    return weights_F * scale_F / norm, bias


def _measure(
    margins_D: Floats, slope: float, offset: float, is_good_D: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return what the held-out margins show, with 95 % intervals."""
    good, bad = margins_D[is_good_D], margins_D[~is_good_D]
    says_good_D = slope * margins_D + offset > 0
    right = int(np.count_nonzero(says_good_D == is_good_D))
    area = area_under_curve(good, bad)
    return {
        "good": len(good),
        "bad": len(bad),
        "accuracy": right / len(is_good_D),
        "accuracy_interval": list(share_interval(right, len(is_good_D))),
        "auc": area,
        "auc_interval": list(area_interval(area, len(good), len(bad))),
    }
