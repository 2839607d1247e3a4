"""Sizes and shares as errors and reports write them."""

import pytest

from qwen_core import figures


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1e-9, "< 0.01 %"), (1e-4, "0.01 %"), (0.0025, "0.25 %"), (0.09994, "9.99 %"), (0.09996, "10.0 %"),
     (1, "100.0 %")],
)  # fmt: skip
def test_shares_keep_two_digits_while_they_are_small(share: float, text: str) -> None:
    assert figures.percent(share) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.004, "0%"), (0.43, "43%"), (0.996, "100%"), (1, "100%")])
def test_a_glance_needs_no_digits_behind_the_point(share: float, text: str) -> None:
    assert figures.whole_percent(share) == text
