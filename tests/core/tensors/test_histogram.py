"""Histograms against NumPy's over the same edges, and the one line of text that they become."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qwen_core.tensors.histogram import MAX_BINS, CodeCounts, MagnitudeTally, linear_histogram, merged
from qwen_tui.text.sparkline import BARS, sparkline

COUNTS = st.lists(st.integers(0, 10**12), max_size=40)
FLOATS = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32))


@given(COUNTS, st.integers(-1, 50))
def test_a_sparkline_has_no_more_cells_than_room_or_counts(counts: list[int], width: int) -> None:
    line = sparkline(counts, width)
    assert len(line) == max(0, min(width, len(counts)))
    assert set(line) <= {" ", *BARS}


@given(COUNTS.filter(any))
def test_with_room_enough_each_bar_is_its_counts_share_of_the_largest(counts: list[int]) -> None:
    for bar, count in zip(sparkline(counts, len(counts)), counts, strict=True):
        if count == 0:
            assert bar == " "
        else:
            height = BARS.index(bar) + 1
            assert (height - 1) * max(counts) < 8 * count <= height * max(counts)


@given(st.integers(1, 10**12), st.integers(1, 40), st.integers(1, 40))
def test_a_flat_histogram_stays_flat_at_any_width(count: int, length: int, width: int) -> None:
    assert set(sparkline([count] * length, width)) == {BARS[-1]}


@given(COUNTS, st.integers(1, 50))
def test_no_bar_appears_over_nothing_and_none_is_lost(counts: list[int], width: int) -> None:
    """A cell is empty exactly where all counts that it touches are zero."""
    line = sparkline(counts, width)
    for cell, bar in enumerate(line):
        begin, end = cell * len(counts), (cell + 1) * len(counts)
        touched = counts[begin // len(line) : -(-end // len(line))]
        assert (bar == " ") == (not any(touched))


@given(FLOATS)
def test_the_tally_of_magnitudes_is_numpys_histogram(values: np.ndarray) -> None:
    tally = MagnitudeTally()
    for part in np.array_split(values, 3):
        tally.add(part)
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)]).astype(np.float64)
    histogram = tally.histogram("scales")
    assert sum(histogram.counts) == magnitudes.size
    assert len(histogram.counts) <= MAX_BINS
    if magnitudes.size:
        assert list(histogram.counts) == np.histogram(magnitudes, np.array(histogram.edges))[0].tolist()
        assert histogram.edges[0] <= magnitudes.min() < histogram.edges[1]
        assert histogram.edges[-2] <= magnitudes.max() < histogram.edges[-1]
        steps = np.diff(np.log2(histogram.edges))
        np.testing.assert_allclose(steps, steps[0])
        whole = tally.exponents("exponents")
        assert all(isinstance(edge, int) for edge in whole.edges)
        assert list(whole.counts) == np.histogram(np.floor(np.log2(magnitudes)), np.array(whole.edges))[0].tolist()
    else:
        assert histogram.edges == histogram.counts == ()


@given(FLOATS, st.integers(0, 5))
def test_a_weight_counts_as_often_as_the_value_would(values: np.ndarray, weight: int) -> None:
    weighted, repeated = MagnitudeTally(), MagnitudeTally()
    weighted.add(values, np.full(values.size, weight))
    repeated.add(np.repeat(values, weight))
    assert weighted.histogram("") == repeated.histogram("")


@given(FLOATS.filter(lambda values: bool(np.isfinite(values).any())))
def test_the_linear_histogram_holds_every_finite_value(values: np.ndarray) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = float(finite.min()), float(finite.max())
    histogram = linear_histogram("values", values, None, low, high)
    assert (histogram.edges[0], histogram.edges[-1]) == (low, high)
    assert sum(histogram.counts) == finite.size
    if len(histogram.counts) == 1:
        assert high - low < 1e-6 * max(1e-30, abs(low))
    else:
        assert len(histogram.counts) == MAX_BINS
        assert all(np.diff(histogram.edges) > 0)
        assert list(histogram.counts) == np.histogram(finite, np.array(histogram.edges))[0].tolist()
    twice = linear_histogram("values", values, np.full(values.size, 2), low, high)
    assert merged([histogram, histogram]) == twice


def test_negatives_join_their_magnitudes() -> None:
    codes = CodeCounts("E2M1", ("-1.5", "-1", "-0", "0", "1", "1.5"), (1, 2, 3, 10, 20, 30))
    assert codes.by_magnitude() == CodeCounts("E2M1", ("0", "1", "1.5"), (13, 22, 31))
