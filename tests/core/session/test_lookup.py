"""The lookup index against a search through all places."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.session.drafting import LookupDrafter
from qwen_core.session.lookup import LEAST_MATCH, LONGEST_MATCH, LookupIndex

IDS = st.lists(st.integers(0, 3), max_size=120)


def searched(ids: list[int]) -> tuple[int, int]:
    """The longest suffix that occurred before, the latest of equals, by trying every place."""
    best, length = 0, 0
    for place in range(len(ids) - 1, 0, -1):
        most = min(place, LONGEST_MATCH)
        common = next((n for n in range(most) if ids[place - 1 - n] != ids[-1 - n]), most)
        if common > length:
            best, length = place, common
    return (best, length) if length >= LEAST_MATCH else (0, 0)


@given(IDS)
def test_the_longest_suffix_is_found(ids: list[int]) -> None:
    index = LookupIndex()
    for end, token in enumerate(ids, 1):
        index.append(token)
        assert index.match() == searched(ids[:end])


@given(IDS, IDS)
def test_another_history_is_followed(ids: list[int], others: list[int]) -> None:
    index = LookupIndex()
    index.follow(ids)
    index.follow(others)
    assert len(index) == len(others)
    assert index.match() == searched(others)
    for token in ids:
        index.append(token)
    assert index.match() == searched([*others, *ids])


@given(st.lists(st.integers(0, 3), min_size=3, max_size=60), st.integers(1, 8))
def test_what_followed_is_proposed_and_goes_on_repeating(ids: list[int], count: int) -> None:
    index = LookupIndex()
    index.follow(ids)
    place, _ = index.match()
    if place:
        period = len(ids) - place
        known = ids[place:]
        assert index.after(place, count) == [known[n % period] for n in range(count)]


def test_one_entry_a_token() -> None:
    index = LookupIndex()
    index.follow([7] * 5000)
    assert len(index._ids) == len(index._previous) == 5000
    assert len(index._latest) == 1


@pytest.mark.parametrize(("fed", "token", "drafted"), [([5, 6, 7, 8, 9, 1, 5], 6, [7, 8, 9]), ([5, 6, 7], 1, [])])
def test_two_tokens_that_occurred_before_are_enough(fed: list[int], token: int, drafted: list[int]) -> None:
    drafter = LookupDrafter(LookupIndex())
    drafter.begin(fed)
    assert [draft.item() for draft in drafter.draft(mx.array([token], mx.uint32), 3)] == drafted
    # Where the device would have to be waited for, two must match before the token that was drawn.
    ahead = LookupDrafter(LookupIndex(), waits=False)
    ahead.begin(fed)
    assert ahead.draft(mx.array([token], mx.uint32), 3) == []
