"""Counts on their way to a screen: histograms as plain values, and the one line of text that a histogram becomes.

Pure: nothing here reads a tensor (values.py does) or knows a terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_BINS = 32

# Magnitudes are tallied in quarters of an octave, from the smallest float32 (2^-149) to its largest; the mantissas of
# E4M3 fall two into each quarter, so that no bin looks empty for being too narrow.
_QUARTERS = 4
_LOWEST = -149 * _QUARTERS
_TALLIES = 128 * _QUARTERS - _LOWEST
_QUARTER_STARTS = np.exp2(np.arange(1, _QUARTERS) / _QUARTERS - 1)  # of a mantissa in [0.5, 1)


@dataclass(frozen=True)
class Histogram:
    """How often a number fell between two edges: `counts[i]` of [edges[i], edges[i + 1]); the last bin has both ends.

    `len(edges) == len(counts) + 1`, or both are empty. `label` says what was counted.
    """

    label: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class CodeCounts:
    """How often each code was used. `names[i]` is what `counts[i]` counts, in ascending order of value."""

    label: str
    names: tuple[str, ...]
    counts: tuple[int, ...]

    def by_magnitude(self) -> "CodeCounts":
        """Each name together with its negative ("-1.5" with "1.5"), ascending."""
        totals: dict[str, int] = {}
        for name, count in zip(self.names, self.counts, strict=True):
            magnitude = name.removeprefix("-")
            totals[magnitude] = totals.get(magnitude, 0) + count
        order = [name for name in self.names if not name.startswith("-")]
        return CodeCounts(self.label, tuple(order), tuple(totals[name] for name in order))


def linear_histogram(
    label: str, values: NDArray[np.floating], weights: NDArray[np.int64] | None, low: float, high: float
) -> Histogram:
    """At most MAX_BINS equal bins from `low` to `high`; `weights` says how often each value occurs.

    Values outside, and those that are not finite, are passed over. One bin where the range is too narrow to be cut.
    """
    edges = _linear_edges(low, high)
    kept = (values >= low) & (values <= high)
    counts, _ = np.histogram(values[kept].astype(np.float64), edges, weights=None if weights is None else weights[kept])
    return Histogram(label, tuple(map(float, edges)), tuple(map(int, counts)))


def _linear_edges(low: float, high: float) -> NDArray[np.float64]:
    edges = np.linspace(low, high, MAX_BINS + 1)
    return edges if (np.diff(edges) > 0).all() else np.array([low, high], np.float64)


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """The sum of histograms over the same edges. Needs at least one."""
    totals = np.sum([histogram.counts for histogram in histograms], axis=0)
    return Histogram(histograms[0].label, histograms[0].edges, tuple(map(int, totals)))


class MagnitudeTally:
    """Counts magnitudes as they come, in quarters of an octave, for a histogram whose range is not known before."""

    def __init__(self) -> None:
        self._counts = np.zeros(_TALLIES, np.int64)

    def add(self, values: NDArray[np.float32], weights: NDArray[np.int64] | None = None) -> None:
        """Count the magnitude of every finite value but zero, once or as often as `weights` says."""
        kept = np.isfinite(values) & (values != 0)
        mantissas, exponents = np.frexp(np.abs(values[kept]).astype(np.float64))
        quarters = np.searchsorted(_QUARTER_STARTS, mantissas, side="right")
        index = (exponents.astype(np.int64) - 1) * _QUARTERS + quarters - _LOWEST
        np.add.at(self._counts, index, 1 if weights is None else weights[kept])

    def histogram(self, label: str) -> Histogram:
        """Bins of a quarter octave, or as many doublings of it as MAX_BINS needs, from the smallest to the largest."""
        used = np.flatnonzero(self._counts)
        if used.size == 0:
            return Histogram(label, (), ())
        starts, counts = self._coarsened(int(used[0]) + _LOWEST, int(used[-1]) + _LOWEST, 1)
        return Histogram(label, tuple(2.0 ** (start / _QUARTERS) for start in starts), counts)

    def exponents(self, label: str) -> Histogram:
        """The same by whole powers of two, for E8M0: the edges are the exponents themselves, as whole numbers."""
        used = np.flatnonzero(self._counts)
        if used.size == 0:
            return Histogram(label, (), ())
        starts, counts = self._coarsened(int(used[0]) + _LOWEST, int(used[-1]) + _LOWEST, _QUARTERS)
        return Histogram(label, tuple(start // _QUARTERS for start in starts), counts)

    def _coarsened(self, first: int, last: int, width: int) -> tuple[list[int], tuple[int, ...]]:
        """(edges in quarter octaves, counts) of bins `width` quarters wide, or the least doubling that is few enough.

        Edges are multiples of the width, so that two tensors are cut at the same places.
        """
        while last // width - first // width + 1 > MAX_BINS:
            width *= 2
        edges = list(range(first // width * width, (last // width + 1) * width + 1, width))
        counts = []
        for start in edges[:-1]:
            begin = max(start - _LOWEST, 0)
            counts.append(int(self._counts[begin : start + width - _LOWEST].sum()))
        return edges, tuple(counts)
