"""What a benchmark measures: the words for it, the ids that are fed, and how figures are summed up."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.bench.workloads import CARD_TURNS, Spread, Workload, parse_workloads, prompt_ids, spread
from qwen_core.errors import SettingsError


def test_a_list_of_workloads_in_the_order_given_each_once() -> None:
    assert parse_workloads(" card, PP512 ,tg128,pp512") == (
        Workload("card"),
        Workload("prefill", 512),
        Workload("decode", 128),
    )
    assert [workload.name for workload in parse_workloads("tg1,card,pp7")] == ["tg1", "card", "pp7"]


@pytest.mark.parametrize(
    "word", ["", "pp", "pp0", "tg-1", "tg99999999", "pp1048577", "512", "cards", "pp5,", "pp5 tg5"]
)
def test_anything_else_is_refused_by_name(word: str) -> None:
    with pytest.raises(SettingsError, match=r"is not a workload: give card, ppN .* or tgN"):
        parse_workloads(word)


def test_the_cards_conversation_is_the_published_one() -> None:
    assert len(CARD_TURNS) == 4
    assert CARD_TURNS[0] == "What is the capital of France?"
    assert re.search("largest population", CARD_TURNS[3])


@given(count=st.integers(0, 300), vocabulary=st.integers(1, 300_000), seed=st.integers(0, 5))
def test_ids_are_ordinary_tokens_and_the_same_every_time(count: int, vocabulary: int, seed: int) -> None:
    ids = prompt_ids(count, vocabulary, seed)
    assert len(ids) == count
    assert all(0 <= token < min(vocabulary, 151_643) for token in ids)
    assert ids == prompt_ids(count, vocabulary, seed)


def test_ids_of_another_seed_are_others() -> None:
    assert prompt_ids(50, 1000, 1) != prompt_ids(50, 1000, 2)


def test_median_and_range() -> None:
    assert spread([]) is None
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert Spread(2.5, 1.0, 4.0).as_dict() == {"median": 2.5, "min": 1.0, "max": 4.0}
    assert spread([1.0, 4.0, 2.0, 3.0]) == Spread(2.5, 1.0, 4.0)
