"""Snapshots: exact, cheap, independent of what is fed later; and memory that grows only as documented."""

import gc
import weakref

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from qwen_core.model.model import Model, load_model
from qwen_core.model.state import GROWTH, Snapshot, State
from support.checkpoints import write_checkpoint

SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "full_attention_interval": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One linear and one full layer."""
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, "bf16", text=SIZES)
    return load_model(path, "float32")


def feed(model: Model, state: State, ids: list[int]) -> None:
    model.feed(mx.array([ids]), state)
    mx.eval(state.arrays())


def contents(state: State) -> list[NDArray[np.float32]]:
    """Everything the state says of its tokens: linear-layer arrays whole, keys and values up to `length`."""
    linear = [a for layer in state.linear.values() for a in (layer.convolution, layer.recurrent)]
    full = [a[:, :, : state.length] for a in state.arrays()[len(linear) :]] if state.length else []
    return [np.array(array) for array in [*linear, *full]]


def equal(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def test_a_snapshot_returns_to_exactly_the_same_logits(model: Model) -> None:
    state = model.new_state()
    feed(model, state, [1, 2, 3])
    snapshot = state.snapshot()
    first = np.array(model.last_logits(mx.array([[4, 5]]), state))
    feed(model, state, [6] * 70)
    state.restore(snapshot)
    assert state.length == 3
    feed(model, state, [9, 9, 9])
    state.restore(snapshot)
    np.testing.assert_array_equal(np.array(model.last_logits(mx.array([[4, 5]]), state)), first)


class Walks(RuleBasedStateMachine):
    """Any sequence of feeding, taking, restoring and dropping snapshots of one state.

    Each snapshot remembers what the state held when it was taken; going back to it must give just that, whatever
    was fed to the same buffers in between.
    """

    model: Model

    def __init__(self) -> None:
        super().__init__()
        self.state = self.model.new_state()
        self.kept: list[tuple[Snapshot, list[NDArray[np.float32]]]] = []

    @rule(ids=st.lists(st.integers(0, 511), min_size=1, max_size=9))
    def feed(self, ids: list[int]) -> None:
        feed(self.model, self.state, ids)

    @rule()
    def take(self) -> None:
        self.kept.append((self.state.snapshot(), contents(self.state)))

    @rule()
    def begin_again(self) -> None:
        self.state.begin_again()
        assert self.state.length == self.state.kv_nbytes == 0
        assert equal(contents(self.state), contents(self.model.new_state()))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        snapshot, expected = data.draw(st.sampled_from(self.kept))
        self.state.restore(snapshot)
        assert equal(contents(self.state), expected)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))

    @invariant()
    def lengths_agree(self) -> None:
        assert self.state.kv_nbytes == self.state.length * 2 * 2 * 64 * 4


def test_any_walk_over_snapshots_is_exact(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.model.state.GROWTH", 4)
    Walks.model = model
    walks = Walks.TestCase
    walks.settings = settings(max_examples=30, stateful_step_count=15)
    walks().runTest()


def active(*states: State) -> int:
    mx.eval([state.arrays() for state in states])
    gc.collect()
    return mx.get_active_memory()


def test_snapshots_of_a_growing_sequence_share_its_keys_and_values(model: Model) -> None:
    state = model.new_state()
    feed(model, state, [1, 1])
    feed(model, state, [2])
    before = active(state)
    snapshots = []
    for _ in range(8):
        snapshots.append(state.snapshot())
        feed(model, state, [3])
    grown = active(state) - before
    assert sum(snapshot.nbytes for snapshot in snapshots) == 8 * state.recurrent_nbytes
    # 16 KiB each: MLX lets a view keep that much more than it shows.
    assert grown <= 8 * (state.recurrent_nbytes + 16384), "no snapshot pins a copy of the keys and values"


def test_going_back_past_dropped_snapshots_keeps_one_set_of_keys_and_values(model: Model) -> None:
    state = model.new_state()
    feed(model, state, [1, 1])
    early = state.snapshot()
    feed(model, state, [2])
    late = state.snapshot()
    base = active(state)
    del late
    state.restore(early)
    feed(model, state, [3, 3])
    assert active(state) <= base + 16384
    assert state.nbytes - state.recurrent_nbytes > 4 * 16384, "the case must be able to fail"


def test_a_branch_with_live_snapshots_keeps_its_keys_and_values_until_they_go(model: Model) -> None:
    state = model.new_state()
    feed(model, state, [1, 1])
    early = state.snapshot()
    feed(model, state, [2])
    late, expected = state.snapshot(), contents(state)
    base, whole = active(state), state.nbytes - state.recurrent_nbytes
    state.restore(early)
    feed(model, state, [3, 3])
    assert active(state) >= base + whole - 16384, "the case must be able to fail"
    state.restore(late)
    assert equal(contents(state), expected)
    del early, late
    feed(model, state, [4])
    assert active(state) <= base + 16384


def test_sizes_are_what_the_arrays_hold(model: Model) -> None:
    state = model.new_state()
    config = model.config
    s = config.linear_num_value_heads * config.linear_value_head_dim * config.linear_key_head_dim * 4
    channels = 2 * 2 * 64 + 4 * 64
    assert state.recurrent_nbytes == s + 3 * channels * 4
    assert state.kv_nbytes == 0
    feed(model, state, [1, 2, 3])
    per_token = 2 * config.num_key_value_heads * config.head_dim * 4
    assert state.kv_nbytes == 3 * per_token
    assert state.nbytes == state.recurrent_nbytes + GROWTH * per_token
    assert state.nbytes == sum(array.nbytes for array in state.arrays())


def test_prefill_keeps_no_activations_alive(model: Model) -> None:
    """The last three convolution inputs are rows of a long array; a view would keep it all."""
    state = model.new_state()
    before = active(state)
    feed(model, state, [1] * 64)
    assert active(state) - before <= state.nbytes + 16384


def test_a_state_is_gone_with_the_last_who_holds_it(model: Model) -> None:
    """Its memory must not wait until Python looks for objects that hold each other."""
    state = model.new_state()
    feed(model, state, [1, 2])
    gone = weakref.ref(state)
    gc.disable()
    try:
        del state
        assert gone() is None
    finally:
        gc.enable()
