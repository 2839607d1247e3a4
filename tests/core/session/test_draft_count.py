"""How many drafts pay, on tables of costs and acceptances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.session.draft_count import EXPECTED, MOST_DRAFTS, best_count, expected_tokens, shares

MEMORY_BOUND = (1.0, 1.1, 1.2, 1.3, 1.4, 1.6)
BY_ROWS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
SHARE = st.floats(0, 1)
COST = st.floats(0.01, 10)


@pytest.mark.parametrize(
    ("costs", "draft", "acceptance", "count"),
    [
        (MEMORY_BOUND, 0.05, (0.97, 0.97, 0.97, 0.97, 0.97), 5),
        (MEMORY_BOUND, 0.05, (0.74, 0.6, 0.5, 0.4, 0.3), 2),  # prose
        (MEMORY_BOUND, 0.05, (0.1, 0.1, 0.1, 0.1, 0.1), 0),
        (MEMORY_BOUND, 0.05, (0.87, 0.0, 0.0, 0.0, 0.0), 1),
        (MEMORY_BOUND, 2.0, (0.9, 0.9, 0.9, 0.9, 0.9), 0),  # drafts that cost more than they bring
        (BY_ROWS, 0.0, (0.95, 0.95, 0.95, 0.95, 0.95), 0),  # a processor: a pass costs what its rows cost
        (BY_ROWS, 0.0, (1.0, 1.0, 1.0, 1.0, 1.0), 0),  # of equals the smaller
        ((1.0, 1.0), 0.0, (0.5, 0.5, 0.5, 0.5, 0.5), 1),  # no more than was measured
    ],
)
def test_the_count_with_most_tokens_a_second(
    costs: tuple[float, ...], draft: float, acceptance: tuple[float, ...], count: int
) -> None:
    assert best_count(costs, draft, acceptance) == count


@given(st.lists(COST, min_size=1, max_size=6), COST, st.lists(SHARE, min_size=5, max_size=5))
def test_no_other_count_is_better(costs: list[float], draft: float, acceptance: list[float]) -> None:
    count = best_count(costs, draft, acceptance)

    def rate(drafts: int) -> float:
        return expected_tokens(acceptance[:drafts]) / (costs[drafts] + drafts * draft)

    assert all(rate(other) <= rate(count) for other in range(len(costs)))


def test_what_is_observed_takes_the_place_of_what_was_expected() -> None:
    none = [0] * MOST_DRAFTS
    assert shares(none, none) == pytest.approx(EXPECTED)
    drafted, accepted = [1000] * 3 + [0, 0], [900, 450, 0, 0, 0]
    found = shares(drafted, accepted)
    assert found[:3] == pytest.approx([0.9, 0.5, 0.0], abs=0.02)
    assert found[3:] == pytest.approx(EXPECTED[3:])
