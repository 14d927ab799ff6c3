"""The difference of two models on the same documents, with its interval over documents and seeds.

found = paired_difference(bits_of_one_SN, bits_of_other_SN, num_bytes_N)
found.is_measurable                        # False: "no measurable difference"
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """Bits a byte of the other minus those of the first, with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_measurable(self) -> bool:
        """Return whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def as_json(self) -> dict[str, Any]:
        """Return it as the fields of a report."""
        return {
            "difference": round(self.value, 4),
            "interval": [round(self.low, 4), round(self.high, 4)],
            "measurable": self.is_measurable,
        }


def paired_difference(
    first_SN: NDArray[np.float64], other_SN: NDArray[np.float64], bytes_N: NDArray[np.int64]
) -> Difference:
    """Compare two sets of S models on N documents by a bootstrap over both (Efron 1979).

    Documents are drawn in pairs: both sides are scored on the same ones. Seeds are drawn for each
    side by itself, since model n of one has nothing to do with model n of the other.

    Args:
        first_SN: bits that each model of the first needs for each document.
        other_SN: the same of the other.
        bytes_N: size of each document.
    """
    draw = np.random.default_rng(0)
    seeds, count = first_SN.shape

    def bits_per_byte(bits_SN: NDArray[np.float64], chosen_N: NDArray[np.int64]) -> float:
        models = draw.integers(seeds, size=seeds)
        total = bits_SN[models][:, chosen_N].mean(axis=0).sum()
        return float(total / bytes_N[chosen_N].sum())

    found = np.empty(RESAMPLES)
    for place in range(RESAMPLES):
        chosen_N: NDArray[np.int64] = draw.integers(count, size=(count,), dtype=np.int64)
        found[place] = bits_per_byte(other_SN, chosen_N) - bits_per_byte(first_SN, chosen_N)
    value = (other_SN.mean(axis=0).sum() - first_SN.mean(axis=0).sum()) / bytes_N.sum()
    low, high = np.quantile(found, [0.025, 0.975])
    return Difference(float(value), float(low), float(high))
