"""Range, mean and spread of numbers that come in pieces, alone or with how often each occurs.

Sums are kept in float64 about the mean of their own piece and merged by the rule of Chan, Golub and LeVeque ("Updating
formulae and a pairwise algorithm for computing sample variances", 1979), which does not cancel.
"""

import math

import numpy as np
from numpy.typing import NDArray


class Moments:
    """Statistics of all values added so far. NaN and infinite values are counted, and left out of everything else.

    `minimum`, `maximum`, `mean` and `standard_deviation` (of the population) are None without a finite value.
    """

    def __init__(self) -> None:
        self.count = 0
        self.nan_count = 0
        self.infinite_count = 0
        self.zero_count = 0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._mean = 0.0
        self._squares = 0.0

    @property
    def minimum(self) -> float | None:
        return self._minimum if self.count else None

    @property
    def maximum(self) -> float | None:
        return self._maximum if self.count else None

    @property
    def mean(self) -> float | None:
        return self._mean if self.count else None

    @property
    def standard_deviation(self) -> float | None:
        return math.sqrt(self._squares / self.count) if self.count else None

    def add(self, values: NDArray[np.float32]) -> None:
        """Every element of `values` once."""
        flat = values.reshape(-1)
        if flat.size == 0:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = np.isfinite(flat)
            nans = int(np.isnan(flat).sum())
            self.nan_count += nans
            self.infinite_count += flat.size - int(finite.sum()) - nans
            self.add(flat[finite])
            return
        self.zero_count += flat.size - int(np.count_nonzero(flat))
        wide = flat.astype(np.float64)
        mean = float(wide.mean())
        wide -= mean
        # Not a dot product: BLAS would spread it over every core, and this runs beside a model that is decoding.
        self._merge(flat.size, low, high, mean, float(np.multiply(wide, wide, out=wide).sum()))

    def add_weighted(self, values: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        """`values[i]` as often as `counts[i]` says; both flat."""
        used = counts > 0
        wide, counts = values[used].astype(np.float64), counts[used]
        finite, nans = np.isfinite(wide), np.isnan(wide)
        self.nan_count += int(counts[nans].sum())
        self.infinite_count += int(counts[~finite & ~nans].sum())
        wide, counts = wide[finite], counts[finite]
        if wide.size == 0:
            return
        self.zero_count += int(counts[wide == 0].sum())
        total = int(counts.sum())
        mean = float((wide * counts).sum() / total)
        squares = float(((wide - mean) ** 2 * counts).sum())
        self._merge(total, float(wide.min()), float(wide.max()), mean, squares)

    def _merge(self, count: int, low: float, high: float, mean: float, squares: float) -> None:
        total = self.count + count
        distance = mean - self._mean
        self._squares += squares + distance * distance * (self.count * count / total)
        self._mean += distance * (count / total)
        self.count = total
        self._minimum = min(self._minimum, low)
        self._maximum = max(self._maximum, high)
