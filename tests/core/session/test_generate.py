"""Prefill and decode: what was yielded is what the state holds, at every moment, and the host waits once a token."""

import tracemalloc
from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qwen_core.device.backend import is_gpu
from qwen_core.errors import QwenError
from qwen_core.model import numpy_products
from qwen_core.model.model import Model, load_model
from qwen_core.model.state import State
from qwen_core.session import generate
from qwen_core.session.generate import LEAST_CHUNK, SCORE_BUDGET, chunk_size, decode, prefill
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint

SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "full_attention_interval": 2}
VOCAB = 512
GREEDY = SamplingParameters(temperature=0.0)
WARM = SamplingParameters(temperature=1.0, top_k=40, seed=3, presence_penalty=0.5)
IDS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=14)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, "bf16", text=SIZES)
    return load_model(path, "float32")


def started(model: Model, ids: list[int], chunk: int = 2048) -> tuple[State, mx.array]:
    """A state that holds `ids`, and the logits after them."""
    state = model.new_state()
    *_, last = prefill(model, state, ids, chunk=chunk)
    assert last.logits is not None
    return state, last.logits


def fresh_logits(model: Model, ids: list[int]) -> NDArray[np.float32]:
    return np.array(model.last_logits(mx.array([ids]), model.new_state()))


def holds_exactly(model: Model, state: State, ids: list[int]) -> None:
    """The state answers the next token as a fresh prefill of `ids` does; 1e-4 as sums run in other orders."""
    assert state.length == len(ids)
    found = np.array(model.last_logits(mx.array([[17]]), state))
    np.testing.assert_allclose(found, fresh_logits(model, [*ids, 17]), rtol=0, atol=1e-4)


@settings(max_examples=25)
@given(ids=IDS, limit=st.integers(0, 6), taken=st.integers(0, 6), warm=st.booleans())
def test_closing_at_any_token_leaves_the_state_there(
    model: Model, ids: list[int], limit: int, taken: int, warm: bool
) -> None:
    state, logits = started(model, ids)
    tokens = decode(model, state, logits, Sampler(WARM if warm else GREEDY, VOCAB, VOCAB), limit=limit)
    fed: list[int] = []
    for token in tokens:
        fed.append(token)
        assert state.length == len(ids) + len(fed)
        if len(fed) >= max(taken, 1):
            break
    tokens.close()
    assert len(fed) == min(limit, max(taken, 1))
    holds_exactly(model, state, ids + fed)


def test_greedy_decode_is_argmax_of_a_fresh_prefill(model: Model) -> None:
    ids = [3, 1, 4, 1, 5]
    state, logits = started(model, ids)
    for token in decode(model, state, logits, Sampler(GREEDY, VOCAB, VOCAB), limit=10):
        assert token == fresh_logits(model, ids).argmax()
        ids.append(token)


def test_a_closed_decode_can_be_taken_up_again(model: Model) -> None:
    """Stopping after each token and going on from the state gives the greedy tokens of one run."""
    state, logits = started(model, [5, 6, 7])
    whole = list(decode(model, state, logits, Sampler(GREEDY, VOCAB, VOCAB), limit=6))
    state, logits = started(model, [5, 6, 7])
    pieces = []
    for _ in range(6):
        tokens = decode(model, state, logits, Sampler(GREEDY, VOCAB, VOCAB), limit=2)
        pieces.append(next(tokens))
        tokens.close()
        before = state.snapshot()
        logits = mx.array(fresh_logits(model, [5, 6, 7, *pieces]))
        assert before.length == 3 + len(pieces)
    assert pieces == whole


@settings(max_examples=25)
@given(ids=IDS, chunk=st.integers(1, 6), allowed=st.integers(0, 9))
def test_prefill_reports_what_is_in_the_state_also_when_stopped(
    model: Model, ids: list[int], chunk: int, allowed: int
) -> None:
    state, asked, fed = model.new_state(), 0, []

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > allowed

    logits = None
    for step in prefill(model, state, ids, stop=stop, chunk=chunk):
        assert 1 <= len(step.ids) <= chunk
        fed.extend(step.ids)
        assert state.length == len(fed)
        logits = step.logits
    assert fed == ids[: len(fed)]
    finished = len(fed) == len(ids)
    assert finished or len(fed) == min(allowed * chunk, len(ids))
    assert (logits is not None) == finished
    if finished and logits is not None:
        np.testing.assert_allclose(np.array(logits), fresh_logits(model, ids), rtol=0, atol=1e-4)
    holds_exactly(model, state, fed)


def test_prefill_closed_by_its_caller_keeps_what_it_yielded(model: Model) -> None:
    state = model.new_state()
    steps = prefill(model, state, list(range(12)), chunk=5)
    assert list(next(steps).ids) == [0, 1, 2, 3, 4]
    steps.close()
    holds_exactly(model, state, [0, 1, 2, 3, 4])


def test_an_exception_of_stop_leaves_what_was_yielded(model: Model) -> None:
    answers = iter([False, False])

    def stop() -> bool:
        return next(answers)  # the third call raises

    state, fed = model.new_state(), []
    with pytest.raises(RuntimeError):
        for step in prefill(model, state, list(range(12)), stop=stop, chunk=4):
            fed.extend(step.ids)
    assert len(fed) == 8
    holds_exactly(model, state, fed)


@pytest.mark.parametrize("token", [-1, VOCAB, 2**40])
def test_an_id_outside_the_vocabulary_is_refused_before_anything_is_fed(model: Model, token: int) -> None:
    state = model.new_state()
    with pytest.raises(QwenError, match=rf"token id {token} is outside the model's vocabulary of 512"):
        list(prefill(model, state, [1, 2, token], chunk=1))
    assert state.length == 0


def test_no_ids_is_no_step(model: Model) -> None:
    assert list(prefill(model, model.new_state(), [])) == []


def test_the_host_reads_once_a_token_and_after_the_next_step_is_scheduled(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of events: two steps scheduled, then one read for each further one."""
    events: list[str] = []
    schedule, read = mx.async_eval, generate.read

    def scheduling(*arrays: object) -> None:
        events.append("schedule")
        schedule(*arrays)

    def reading(token: mx.array) -> int:
        events.append("read")
        return read(token)

    def forbidden(*_: object) -> None:
        raise AssertionError("decode waited for the device elsewhere")

    state, logits = started(model, [1, 2, 3])
    monkeypatch.setattr(mx, "async_eval", scheduling)
    monkeypatch.setattr(generate, "read", reading)
    for name in ("eval", "synchronize"):
        monkeypatch.setattr(mx, name, forbidden)
    tokens = decode(model, state, logits, Sampler(WARM, VOCAB, VOCAB), limit=5)
    assert len(list(tokens)) == 5
    assert events == ["schedule"] + ["schedule", "read"] * 5


@given(st.integers(1, 64), st.integers(0, 300_000), st.integers(1, 4096))
def test_chunks_shrink_with_the_context_but_not_below_the_least(heads: int, context: int, chunk: int) -> None:
    size = chunk_size(heads, context, chunk)
    assert min(chunk, LEAST_CHUNK) <= size <= chunk
    if size > LEAST_CHUNK:
        assert heads * size * (context + size) <= SCORE_BUDGET
    longer = [chunk_size(heads, n, chunk) for n in (context, context + 1000, context + 100_000)]
    assert all(a >= b for a, b in pairwise(longer))


def test_the_27b_takes_full_chunks_at_first() -> None:
    assert chunk_size(24, 0) == 512
    assert chunk_size(24, 8192) == 512
    assert chunk_size(24, 262_144 - 2048) == LEAST_CHUNK


def test_steps_are_as_long_as_this_machines_attention_is_fused_for(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(generate, "fused_rows", lambda *heads: asked.append(heads) or 1024)
    fed = [len(step.ids) for step in prefill(model, model.new_state(), [7] * 2100)]
    assert fed == [1024, 1076] and asked == [(model.config.head_dim, model.dtype)]


def test_keys_and_values_of_a_prompt_are_reserved_once(model: Model) -> None:
    state = model.new_state()
    sizes = [state.nbytes for _ in prefill(model, state, [1] * 700, chunk=50)]
    assert set(sizes) == {state.recurrent_nbytes + 768 * state.kv_nbytes // 700}


@pytest.mark.skipif(is_gpu(), reason="a GPU's attention is MLX's own")
def test_a_step_behind_a_long_context_takes_no_more_than_one_behind_a_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLX and NumPy count it: nothing that grows with the context but the keys and values, and of them no copy."""
    monkeypatch.setattr(numpy_products, "_SCORES", 1 << 17)
    text = {"num_hidden_layers": 5, "num_attention_heads": 8, "max_position_embeddings": 8192}
    write_checkpoint(tmp_path, "bf16", text=text)
    model = load_model(tmp_path, "float32")
    state, peaks = model.new_state(), []
    tracemalloc.start()
    try:
        steps = prefill(model, state, [1 + n % 100 for n in range(2048)], chunk=256)
        while True:
            mx.reset_peak_memory()
            tracemalloc.reset_peak()
            before = mx.get_active_memory() + tracemalloc.get_traced_memory()[0]
            if next(steps, None) is None:
                break
            peaks.append(mx.get_peak_memory() + tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert len(peaks) == 8
    # The first step reserves the keys and values. Measured: the same within 2 %.
    assert max(peaks[4:]) <= 1.1 * max(peaks[1:3])
