"""A whole model whose launches run on a CPU: the same logits with kernels of our own as without, the same tokens with
drafts as without them, and a state that goes back as exactly as ever.
"""

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.model.kernels.launch import MOST_TOKENS, Plan
from qwen_core.model.kernels.proof import NAMES, NONE, Kernels
from qwen_core.model.model import Model
from qwen_core.model.state import State
from qwen_core.model.weights import load_weights
from support.checkpoints import write_checkpoint
from support.metal_on_cpu import MetalOnCpu

# Two layers of each kind; heads of attention as large as the kernels want them.
SIZES = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 256, "num_attention_heads": 2, "num_hidden_layers": 4}
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]
FED = [7, 93, 2, 38, 46, 26, 4, 3]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, "q4", text={**SIZES, "num_key_value_heads": 1, "full_attention_interval": 2})
    return path


def load(path: Path, kernels: Kernels, *, joined: bool = True) -> Model:
    checkpoint = open_checkpoint(path)
    weights = load_weights(checkpoint, "float32")
    return Model(checkpoint, weights, checkpoint.specs, "float32", joined=joined, kernels=kernels)


@pytest.fixture(scope="module")
def plain(path: Path) -> Model:
    return load(path, NONE)


@pytest.fixture(scope="module", params=[True, False], ids=["joined", "apart"])
def own(request: pytest.FixtureRequest, path: Path) -> Model:
    return load(path, Kernels(frozenset(NAMES)), joined=request.param)


def after_prompt(model: Model) -> State:
    state = model.new_state()
    model.feed(mx.array([PROMPT]), state)
    mx.eval(state.arrays())
    return state


def logits(model: Model, state: State, ids: Sequence[int]) -> NDArray[np.float32]:
    return np.array(model(mx.array([list(ids)]), state))


def contents(state: State) -> list[NDArray[np.float32]]:
    """All that a state holds of its tokens."""
    return [np.array(array) for _, array in sorted(state.stored().items())]


@pytest.mark.parametrize("tokens", range(1, MOST_TOKENS + 1))
def test_the_same_logits_and_state(metal_on_cpu: MetalOnCpu, plain: Model, own: Model, tokens: int) -> None:
    one, other = after_prompt(plain), after_prompt(own)
    for ids in (FED[:tokens], FED[:1]):
        # float32: sums in another order, through four layers.
        np.testing.assert_allclose(logits(own, other, ids), logits(plain, one, ids), atol=1e-4, rtol=1e-4)
    for a, b in zip(contents(other), contents(one), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)
    assert metal_on_cpu.copied == []


def test_what_the_convolution_keeps_is_the_same_to_the_bit(metal_on_cpu: MetalOnCpu, plain: Model, own: Model) -> None:
    """Of the first layer, whose inputs no kernel has touched."""
    for tokens in range(1, MOST_TOKENS + 1):
        kept = []
        for model in (plain, own):
            state = after_prompt(model)
            model.feed(mx.array([FED[:tokens]]), state)
            kept.append(np.array(state.linear[0].convolution))
        np.testing.assert_array_equal(*kept)


def test_a_pass_with_drafts_ends_after_any_token_as_if_these_alone_had_been_fed(
    metal_on_cpu: MetalOnCpu, own: Model
) -> None:
    drafted = after_prompt(own)
    drafted.begin_drafted()
    rows = logits(own, drafted, FED)
    singly = after_prompt(own)
    for kept in range(len(FED) + 1):
        drafted.keep(kept)
        for a, b in zip(contents(drafted), contents(singly), strict=True):
            np.testing.assert_array_equal(a, b)
        if kept < len(FED):
            np.testing.assert_array_equal(logits(own, singly, [FED[kept]])[0, 0], rows[0, kept])


def test_going_on_after_a_pass_with_drafts(metal_on_cpu: MetalOnCpu, plain: Model, own: Model) -> None:
    found = []
    for model in (plain, own):
        state = after_prompt(model)
        state.begin_drafted()
        logits(model, state, FED[:5])
        state.keep(2)
        found.append(logits(model, state, FED[2:4]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-4, rtol=1e-4)


def test_the_last_token_alone(metal_on_cpu: MetalOnCpu, plain: Model, own: Model) -> None:
    """Of a short prompt: `last_logits` asks the last layer for less."""
    found = [np.array(model.last_logits(mx.array([FED[:3]]), model.new_state())) for model in (plain, own)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-4, rtol=1e-4)


def test_what_a_token_launches_and_what_a_prompt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(plan: Plan, *inputs: mx.array) -> list[mx.array]:
        asked.append(plan.kernel.name)
        return [mx.zeros(shape, dtype) for shape, dtype in plan.outputs]

    monkeypatch.setattr(Plan, "run", run)
    model = load(path, Kernels(frozenset(NAMES)))
    state = after_prompt(model)
    assert set(asked) == {"add_norm"}  # of its last row, in the last layer
    asked.clear()
    model.last_logits(mx.array([[1]]), state)
    counts = {name: asked.count(name) for name in NAMES}
    assert counts == {"linear_front": 2, "delta_rule": 2, "gated_norm": 2, "attention_front": 2, "add_norm": 8}


def test_a_kernel_that_is_not_among_the_proven_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "run", lambda plan, *inputs: pytest.fail(plan.name))
    model = load(path, NONE)
    model.last_logits(mx.array([[1]]), model.new_state())
