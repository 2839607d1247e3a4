"""The mixture of experts: mlx-lm's answers, and what must hold however the rows of a pass are put together.

The values against transformers are test_goldens.py's.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.model import row_parallel
from qwen_core.model.mixture import Mixture
from qwen_core.model.model import Model, load_model
from qwen_core.model.numpy_products import LEAST_ROWS
from qwen_core.model.weights import load_weights
from support.checkpoints import write_checkpoint
from support.peer_mlx_lm import our_answer, peer_answer, prompt
from support.published_plan import SMALL_MIXTURE

VARIANTS = ("bf16", "nvfp4", "mxfp4", "mxfp8", "q2", "q4", "q8")
# Few layers, one of each kind, keep this quick; experts are what it is about.
SIZES = {**SMALL_MIXTURE, "num_hidden_layers": 2, "full_attention_interval": 2}
STEPS = 32
IDS = np.random.RandomState(6).randint(0, 512, 48).tolist()


@pytest.fixture(scope="module", params=VARIANTS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixture") / request.param
    write_checkpoint(path, request.param, text=SIZES, seed=VARIANTS.index(request.param))
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return load_model(directory, "float32")


def mixtures(model: Model) -> Iterator[Mixture]:
    for block in model._blocks:
        assert isinstance(block.feed_forward, Mixture)
        yield block.feed_forward


def test_published_formats_answer_as_in_mlx_lm(directory: Path) -> None:
    ids = prompt(4)
    ours = our_answer(directory, ids, STEPS)
    assert ours == peer_answer(directory, ids, STEPS)
    assert len(set(ours)) > 4, "a model that repeats itself compares little"


@pytest.mark.parametrize(("mode", "bits"), [("nvfp4", 4), ("mxfp4", 4), ("mxfp8", 8), ("affine", 4), ("affine", 8)])
def test_what_mlx_lm_converts_answers_alike(mode: str, bits: int, tmp_path: Path) -> None:
    """It keeps the router and the shared expert's gate in affine 8 bits, whatever the others are."""
    utils = pytest.importorskip("mlx_lm.utils")
    write_checkpoint(tmp_path / "raw", "bf16", text=SIZES, seed=bits)
    peer, config = utils.load_model(tmp_path / "raw")
    peer, config = utils.quantize_model(peer, config, None, bits, mode=mode)
    utils.save_model(tmp_path / "out", peer)
    utils.save_config(config, tmp_path / "out" / "config.json")
    specs = open_checkpoint(tmp_path / "out").specs
    assert {str(specs[f"layers.1.mlp.{name}"]) for name in ("gate", "shared_expert_gate")} == {"affine 8-bit group 64"}
    assert specs["layers.1.mlp.switch_mlp.down_proj"].mode == mode
    ids = prompt(5)
    assert our_answer(tmp_path / "out", ids, STEPS) == peer_answer(tmp_path / "out", ids, STEPS)


@settings(max_examples=6, deadline=None)
@given(cuts=st.sets(st.integers(1, len(IDS) - 1), max_size=12))
def test_any_split_of_a_prompt_gives_the_same_logits(model: Model, cuts: set[int]) -> None:
    """Long pieces sort their rows by expert, short ones do not."""
    expected = model.last_logits(mx.array([IDS]), model.new_state())
    state = model.new_state()
    *others, final = [IDS[a:b] for a, b in pairwise([0, *sorted(cuts), len(IDS)])]
    for part in others:
        model.feed(mx.array([part]), state)
    logits = model.last_logits(mx.array([final]), state)
    np.testing.assert_allclose(np.array(logits), np.array(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("processors", [1, 3])
def test_a_row_of_a_pass_is_what_it_is_alone(model: Model, processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit on a CPU, in any order and on any processor: what drafts rest on."""
    monkeypatch.setattr(row_parallel, "processors", lambda: processors)
    monkeypatch.setattr(row_parallel, "LEAST_WORK", 1)
    for seed, mixture in enumerate(mixtures(model)):
        for tokens in (2, 5, 40):
            x = mx.random.normal((1, tokens, model.config.hidden_size), key=mx.random.key(seed * 100 + tokens))
            whole = mixture(x)
            single = mx.concatenate([mixture(x[:, i : i + 1]) for i in range(tokens)], axis=1)
            chosen, weights = mixture.choose(x)
            assert mx.array_equal(
                chosen, mx.concatenate([mixture.choose(x[:, i : i + 1])[0] for i in range(tokens)], 1)
            )
            assert mx.allclose(mx.sum(weights, axis=-1), mx.array(1.0)).item()
            # A product with a plain matrix of several rows may sum in another order; experts never do.
            outputs = mixture._outputs(x, chosen)
            alone = [mixture._outputs(x[:, i : i + 1], chosen[:, i : i + 1]) for i in range(tokens)]
            assert mx.array_equal(outputs, mx.concatenate(alone, axis=1)).item()
            assert mx.allclose(whole, single, atol=1e-5, rtol=0).item()


def test_joined_stacks_give_the_same_bits(directory: Path) -> None:
    checkpoint = open_checkpoint(directory)
    joined, apart = (
        Model(checkpoint, load_weights(checkpoint, "float32"), checkpoint.specs, "float32", joined=flag)
        for flag in (True, False)
    )
    assert [len(mixture.experts.gate_up) for mixture in (*mixtures(joined), *mixtures(apart))] == [1, 1, 2, 2]
    one, other = (np.array(m(mx.array([IDS]), m.new_state())) for m in (joined, apart))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    one, other = (np.array(m(mx.array([IDS[: LEAST_ROWS - 1]]), m.new_state())) for m in (joined, apart))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("variant", ["bf16", "nvfp4"])
def test_half_precision_is_float32_rounded(variant: str, dtype: str, tmp_path: Path) -> None:
    """The same experts but for near ties, and sums of some hundred values, each rounded to 2^-8. On a CPU plain
    experts in half precision go another way, a copy of some at a time."""
    write_checkpoint(tmp_path, variant, text=SIZES)
    one, other = load_model(tmp_path, "float32"), load_model(tmp_path, dtype)
    for exact, half in zip(mixtures(one), mixtures(other), strict=True):
        x = mx.random.normal((1, 40, 128), key=mx.random.key(3)).astype(getattr(mx, dtype))
        expected, found = exact(x.astype(mx.float32)), half(x)
        assert found.dtype == x.dtype
        distance = np.array(mx.max(mx.abs(expected - found.astype(mx.float32)), axis=-1)[0])
        assert np.median(distance) < 0.05
        assert np.mean(distance < 0.15) > 0.9
