"""The memory of a prompt is foreseen: what cannot fit is one line before anything is read."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core import demo_model_path, load_model, load_session
from qwen_core.checkpoint.footprint import step_bytes
from qwen_core.device.backend import is_gpu
from qwen_core.errors import CapacityError
from qwen_core.protocol.ranks import RankSummary
from qwen_core.session import foresight
from qwen_core.session.completion import load_completion
from qwen_core.session.generate import CHUNK, LEAST_CHUNK, SCORE_BUDGET, most_scores, most_tokens, prefill, step_size
from qwen_core.session.session import Session
from support.checkpoints import write_checkpoint

SMALL: dict[str, Any] = {
    "num_hidden_layers": 2,
    "layer_types": ["full_attention", "linear_attention"],
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 1,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}
SHAPES: dict[str, dict[str, Any]] = {
    "scores": {"num_attention_heads": 8},
    "long heads": {"head_dim": 256, "num_attention_heads": 2, "num_key_value_heads": 2},
    "feed-forward": {"intermediate_size": 2048},
    "experts": {
        "num_experts": 16,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 256,
        "shared_expert_intermediate_size": 64,
        "hidden_size": 256,
    },
    "linear heads": {"linear_num_value_heads": 4, "linear_value_head_dim": 64},
}


@pytest.mark.parametrize("tokens", [100, 700])
@pytest.mark.parametrize("variant", ["bf16", "q4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_prefill_takes_no_more_than_is_foreseen_and_not_far_less(
    shape: str, variant: str, tokens: int, tmp_path: Path
) -> None:
    """What MLX and NumPy count at the most, which is not at one time, over what the state keeps: 0.2 to 0.8 of it."""
    write_checkpoint(tmp_path, variant, text={**SMALL, **SHAPES[shape], "max_position_embeddings": 8192})
    model = load_model(tmp_path, "float32")
    config, state = model.config, model.new_state()
    mx.eval(state.arrays())
    gc.collect()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    for _ in prefill(model, state, [1 + n % 100 for n in range(tokens)]):
        pass
    taken = mx.get_peak_memory() - before - state.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    scores = most_scores(config.num_attention_heads, tokens, tokens)
    foreseen = step_bytes(config, min(tokens, CHUNK), scores, tokens, 4, gpu=is_gpu())
    print(f"{shape}, {tokens}: {taken / foreseen:.2f} of {foreseen:,}")
    assert taken <= foreseen
    assert is_gpu() or foreseen <= 4 * taken + (4 << 20)


@given(
    heads=st.integers(1, 64),
    before=st.integers(0, 1 << 20),
    new=st.integers(1, 1 << 16),
    fused=st.sampled_from([None, 1024]),
)
def test_no_step_is_larger_or_has_more_scores_than_the_most(
    heads: int, before: int, new: int, fused: int | None
) -> None:
    """A step that is fused has none in memory; every token is fed in one step."""
    context, most, largest = before, 0, 0
    while context < before + new:
        step = step_size(heads, context, before + new - context, fused=fused)
        context += step
        largest = max(largest, step)
        most = most if fused and step >= fused else max(most, heads * step * context)
    assert context == before + new
    bound = most_scores(heads, before + new, new, fused)
    assert most <= bound <= max(SCORE_BUDGET, most * 4)
    assert largest <= most_tokens(new, fused)


def test_prompts_are_fed_in_steps_that_are_fused_where_the_device_can() -> None:
    assert [step_size(24, 0, left) for left in (5, 512, 5000)] == [5, 512, 512]
    assert [step_size(24, 200_000, left, fused=1024) for left in (5000, 2048, 2047, 1024)] == [1024, 1024, 2047, 1024]
    assert step_size(24, 200_000, 1023, fused=1024) == LEAST_CHUNK


@pytest.fixture
def session() -> Any:
    with load_session(demo_model_path()) as loaded:
        yield loaded


def with_memory(session: Session, nbytes: int, recommended: int | None = None) -> None:
    summary = replace(session.loaded.summary, memory_bytes=nbytes, recommended_bytes=recommended)
    session.loaded.summary = summary


def ask(session: Session, text: str) -> Any:
    *_, last = session.send_stream(text, temperature=0, max_new_tokens=2, reasoning_effort="none")
    return last


def test_what_cannot_fit_is_refused_and_nothing_is_lost(session: Session) -> None:
    ask(session, "What is the capital of France?")
    held = list(session.ids)
    short, long = (foresight.foresee(session.loaded, n, n) for n in (200, 2000))
    with_memory(session, (short.total + long.total) // 2)
    with pytest.raises(CapacityError, match=r"a prompt of 2,\d\d\d tokens needs .* of weights.*while it is read"):
        ask(session, "word " * 2000)
    assert session.ids == held and len(session.messages) == 2
    assert ask(session, "And Japan?").stats.cached_tokens >= len(held)


def test_what_metal_recommends_is_the_limit_unless_the_weights_are_above_it(session: Session) -> None:
    foreseen = foresight.foresee(session.loaded, 100, 100)
    with_memory(session, 1 << 40, recommended=foreseen.total - 1)
    with pytest.raises(CapacityError, match="this machine has"):
        foresight.check_fits(foreseen, session.loaded, 0)
    with_memory(session, 1 << 40, recommended=foreseen.weights - 1)
    assert foresight.check_fits(foreseen, session.loaded, 0) == (1 << 40) - foreseen.total


def test_of_several_ranks_the_one_with_the_least_memory_is_the_limit(session: Session) -> None:
    """Its state, and its snapshots, are as large as those here."""
    foreseen = foresight.foresee(session.loaded, 100, 100)
    weights = session.loaded.summary.weights_in_memory
    with_memory(session, 1 << 40)

    def shared(memory: int) -> None:
        hosts = (RankSummary(0, "a", 1 << 40, weights), RankSummary(1, "b", memory, weights - 1))
        session.loaded.summary = replace(session.loaded.summary, hosts=hosts)

    shared(foreseen.total + 4)
    assert foresight.check_fits(foreseen, session.loaded, 0) == 5
    shared(foreseen.total - 2)
    with pytest.raises(CapacityError, match=r"on every rank, more than rank 1 \(b\) has for it; send less"):
        foresight.check_fits(foreseen, session.loaded, 0)


def test_what_is_free_now_counts_too(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    foreseen = foresight.foresee(session.loaded, 100, 100)
    monkeypatch.setattr(foresight, "memory_limit", lambda: foreseen.state + foreseen.step - 1)
    with pytest.raises(CapacityError, match="are free here"):
        ask(session, "word " * 200)
    assert foresight.check_fits(foreseen, session.loaded, held=1) >= 0


def test_snapshots_of_earlier_turns_make_room(session: Session) -> None:
    """They save time and are no reason to refuse a prompt."""
    for question in ("What is the capital of France?", "And Japan?", "And Italy?"):
        last = ask(session, question)
    assert session.state.logits is not None
    one = last.stats.recurrent_bytes + session.state.logits.nbytes
    assert last.stats.snapshot_bytes == 2 * one
    first, *_, last = session.send_stream("And Spain?", temperature=0, max_new_tokens=2, reasoning_effort="none")
    assert last.stats is not None and last.stats.snapshot_bytes == 3 * one
    session.restore(session.messages[:-2], session.ids[: first.cached_tokens])
    session._snapshots.drop_after(first.cached_tokens)  # else the question is not read again
    with_memory(session, first.foreseen_bytes + one)
    assert ask(session, "And Spain?").stats.snapshot_bytes == one


def test_the_first_event_says_what_is_foreseen(session: Session) -> None:
    first, *_ = session.send_stream("Hello", max_new_tokens=1)
    assert first.foreseen_bytes == foresight.foresee(session.loaded, len(first.prompt_ids), len(first.prompt_ids)).total


def test_a_prompt_of_ids_is_refused_too() -> None:
    with load_completion(demo_model_path()) as completion:
        summary = completion.loaded.summary
        completion.loaded.summary = replace(summary, memory_bytes=summary.tiers.total + 1000, recommended_bytes=None)
        with pytest.raises(CapacityError, match="a prompt of 3 tokens needs"):
            list(completion.complete([1, 2, 3], max_new_tokens=1))
