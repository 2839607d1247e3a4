"""A replayed pass is the pass itself: the same bits, state and drafts, and nothing that outlives its model."""

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from qwen_core.model import block
from qwen_core.model.drafted_pass import LinearLayerState
from qwen_core.model.layers import GatedDeltaNet
from qwen_core.model.model import Model, load_model
from qwen_core.model.replay import MOST_TOKENS
from qwen_core.model.state import State
from support.checkpoints import write_checkpoint
from support.published_plan import SMALL_MIXTURE

IDS = np.random.RandomState(7).randint(0, 256, 24).tolist()
PASSES = [0, 1, 2, 4, 5, 13, 21, 22, 24]
"""Where passes begin and end: of 1, 2 and 8 tokens, each more than once."""


def rows(logits: mx.array) -> NDArray[np.float32]:
    return np.array(logits.astype(mx.float32))


@pytest.fixture(scope="module", params=[{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "model"
    write_checkpoint(path, text={**request.param, "num_hidden_layers": 4})
    return path


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether linear layers are replayed, as on a GPU."""
    return lambda on: monkeypatch.setattr(block, "is_gpu", lambda: on)


def logits_of_passes(model: Model, state: State) -> NDArray[np.float32]:
    given = [model(mx.array([IDS[begin:end]]), state)[0] for begin, end in pairwise(PASSES)]
    mx.eval(given, state.arrays())
    return rows(mx.concatenate(given))


def arrays_of(state: State) -> Sequence[NDArray[np.float32]]:
    return [rows(array) for array in state.arrays()]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_and_state_keep_their_bits(path: Path, dtype: str, replaying: Callable[[bool], None]) -> None:
    model = load_model(path, dtype)
    found = []
    for on in (False, True):
        replaying(on)
        state = model.new_state()
        found.append((logits_of_passes(model, state), arrays_of(state)))
    (expected, expected_state), (logits, state) = found
    np.testing.assert_array_equal(logits, expected)
    for one, other in zip(state, expected_state, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kept", [0, 1, 3, MOST_TOKENS])
def test_a_pass_with_drafts_is_cut_back(path: Path, kept: int, replaying: Callable[[bool], None]) -> None:
    model = load_model(path, "float32")
    found = []
    for on in (False, True):
        replaying(on)
        state = model.new_state()
        mx.eval(model.last_logits(mx.array([IDS[:5]]), state), state.arrays())
        state.begin_drafted()
        mx.eval(model(mx.array([IDS[5 : 5 + MOST_TOKENS]]), state))
        state.keep(kept)
        after = model.last_logits(mx.array([IDS[-1:]]), state)
        found.append((rows(after), arrays_of(state)))
    np.testing.assert_array_equal(found[1][0], found[0][0])
    for one, other in zip(found[1][1], found[0][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_experts_are_watched_all_the_same(path: Path, replaying: Callable[[bool], None]) -> None:
    model = load_model(path, "float32")
    model.watch_experts(True)
    found = []
    for on in (False, True):
        replaying(on)
        state = model.new_state()
        model(mx.array([IDS[:3]]), state)
        mx.eval(model(mx.array([IDS[3:5]]), state))
        found.append([np.array(used) for used in model.used_experts()])
    assert len(found[0]) == (model.config.num_hidden_layers if model.config.mixture else 0)
    np.testing.assert_array_equal(found[1], found[0])


def test_linear_layers_are_recorded_once_for_a_number_of_tokens(
    path: Path, replaying: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first layer is never: nothing is added before it."""
    replaying(True)
    model = load_model(path, "float32")
    state = model.new_state()
    logits_of_passes(model, state)
    stepped: list[int] = []
    step = GatedDeltaNet.step

    def counted(self: GatedDeltaNet, x: mx.array, held: LinearLayerState, last: bool) -> Any:
        stepped.append(self.index)
        return step(self, x, held, last)

    monkeypatch.setattr(GatedDeltaNet, "step", counted)
    logits_of_passes(model, state)
    assert set(stepped) == {0}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_closed_model_leaves_no_weights_behind(path: Path, threads: int, replaying: Callable[[bool], None]) -> None:
    """MLX's record of a layer holds its weights, and each thread has records of its own."""
    replaying(True)
    gc.collect()
    gc.disable()  # what is in a circle stays until Python next looks for circles
    mx.clear_cache()
    before = mx.get_active_memory()
    model = load_model(path, "float32")
    loaded = mx.get_active_memory() - before
    logits = logits_of_passes(model, model.new_state())
    if threads == 2:
        with ThreadPoolExecutor(1) as pool:
            elsewhere = pool.submit(lambda: logits_of_passes(model, model.new_state())).result()
        np.testing.assert_array_equal(elsewhere, logits)
    model.close()
    mx.clear_cache()
    gc.enable()
    assert mx.get_active_memory() - before <= 0.05 * loaded
