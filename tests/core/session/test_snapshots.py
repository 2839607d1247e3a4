"""The store of turn boundaries against a list that forgets nothing, and its memory budget."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.model.model import Model, load_model
from qwen_core.model.state import State
from qwen_core.session.snapshots import SnapshotStore
from support.checkpoints import write_checkpoint

SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "full_attention_interval": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, "bf16", text=SIZES)
    return load_model(path, "float32")


@pytest.fixture(scope="module")
def state(model: Model) -> State:
    """Some state: the store never looks into one."""
    return model.new_state()


IDS = st.lists(st.integers(0, 2), max_size=8)
KEEP = st.tuples(st.just("keep"), IDS)
DROP = st.tuples(st.just("drop"), st.integers(0, 8))


@given(steps=st.lists(st.one_of(KEEP, KEEP, DROP), max_size=10), target=IDS)
def test_the_longest_proper_prefix_is_found_among_what_was_kept(
    state: State, steps: list[tuple[str, list[int] | int]], target: list[int]
) -> None:
    """Keeping at a length forgets what was kept at it and beyond: the state has gone another way from there."""
    store = SnapshotStore(1 << 30)
    known: list[tuple[int, ...]] = []
    for _, value in steps:
        if isinstance(value, int):
            store.drop_after(value)
            known = [ids for ids in known if len(ids) <= value]
        else:
            store.keep(value, state)
            known = [*(ids for ids in known if len(ids) < len(value)), tuple(value)]
    prefixes = [ids for ids in known if len(ids) < len(target) and list(ids) == target[: len(ids)]]
    found = store.longest_prefix(target)
    assert (found.ids if found else None) == max(prefixes, key=len, default=None)
    assert store.nbytes == len(known) * state.recurrent_nbytes
    store.clear()
    assert store.longest_prefix([*target, 0]) is None
    assert store.nbytes == 0


@given(budget=st.integers(0, 6), count=st.integers(1, 8))
def test_the_oldest_go_when_the_budget_is_passed_but_never_the_newest(state: State, budget: int, count: int) -> None:
    one = state.recurrent_nbytes
    store = SnapshotStore(budget_bytes=budget * one)
    for length in range(1, count + 1):
        store.keep([7] * length, state)
    left = min(count, max(budget, 1))
    assert store.nbytes == left * one
    longest = store.longest_prefix([7] * 20)
    assert longest is not None
    assert len(longest.ids) == count
    shortest = count - left + 1
    assert store.longest_prefix([7] * shortest) is None, "what is older was dropped"
    oldest = store.longest_prefix([7] * (shortest + 1))
    assert oldest is not None
    assert len(oldest.ids) == shortest


def test_a_passing_one_goes_with_the_next_and_takes_no_place_of_others(state: State) -> None:
    one, store = state.recurrent_nbytes, SnapshotStore(3 * state.recurrent_nbytes)

    def lengths() -> list[int]:
        return [n for n in range(9) if (kept := store.longest_prefix([7] * (n + 1))) and len(kept.ids) == n]

    store.keep([7], state)
    store.keep([7] * 3, state, room=2 * one)
    assert lengths() == [1, 3]
    store.keep([7] * 5, state)
    assert lengths() == [1, 5]
    assert not store.keep([7] * 6, state, room=3 * one - 1)
    assert lengths() == [1, 5], "no room in memory"
    store.keep([7] * 6, state)
    store.keep([7] * 8, state, room=10 * one)
    assert lengths() == [1, 5, 6], "no room in the budget"


def test_what_is_kept_leads_back_to_the_state_it_was_kept_of(model: Model) -> None:
    state, store = model.new_state(), SnapshotStore(1 << 30)
    ids: list[int] = []
    expected: dict[int, np.ndarray] = {}
    for new in ([5, 6, 7], [1], [2, 2]):
        model.feed(mx.array([new]), state)
        ids += new
        store.keep(ids, state)
        expected[len(ids)] = np.array(model.last_logits(mx.array([[9]]), state))
        kept = store.longest_prefix([*ids, 0])
        assert kept is not None
        state.restore(kept.snapshot)
    for length in (6, 3, 4):
        kept = store.longest_prefix([*ids[:length], 400])
        assert kept is not None
        assert kept.ids == tuple(ids[:length])
        state.restore(kept.snapshot)
        assert state.length == length
        np.testing.assert_array_equal(np.array(model.last_logits(mx.array([[9]]), state)), expected[length])
