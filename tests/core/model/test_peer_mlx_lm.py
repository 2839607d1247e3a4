"""The forward pass against mlx-lm in float32, on every published variant: greedy tokens and logits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.model.model import Model, load_model
from qwen_core.session.generate import decode, prefill
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint
from support.published_plan import VARIANTS

# Measured on a CPU: no difference at all, both call the same kernels on the same numbers.
TOLERANCE = 5e-3
VOCAB, PROMPT, STEPS = 512, 40, 32

mlx_lm_utils = pytest.importorskip("mlx_lm.utils")
generation = pytest.importorskip("mlx_lm.generate")


@pytest.fixture(scope="module", params=VARIANTS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / request.param
    write_checkpoint(path, request.param, seed=VARIANTS.index(request.param))
    return path


def peer_model(path: Path) -> Any:
    """mlx-lm's model with its bf16 parameters as float32."""
    tree_map = pytest.importorskip("mlx.utils").tree_map
    model, _ = mlx_lm_utils.load_model(path)
    model.update(tree_map(lambda p: p.astype(mx.float32) if p.dtype == mx.bfloat16 else p, model.parameters()))
    return model


def our_greedy(model: Model, ids: list[int]) -> Iterator[int]:
    state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), VOCAB, VOCAB)
    *_, last = prefill(model, state, ids)
    assert last.logits is not None
    yield from decode(model, state, last.logits, sampler, limit=STEPS)


def test_greedy_tokens_and_logits_equal_mlx_lm(directory: Path) -> None:
    ids = np.random.RandomState(9).randint(0, VOCAB, PROMPT).tolist()
    peer, model = peer_model(directory), load_model(directory, "float32")
    expected = np.array(peer(mx.array([ids]))[0])
    logits = np.array(model(mx.array([ids]), model.new_state())[0])
    difference = np.abs(logits - expected).max()
    print(f"{directory.name}: largest difference {difference:.1e}")
    assert difference <= TOLERANCE
    tokens = [int(token) for token, _ in generation.generate_step(mx.array(ids), peer, max_tokens=STEPS)]
    assert list(our_greedy(model, ids)) == tokens
    assert len(set(tokens)) > 4, "a model that repeats itself compares little"
