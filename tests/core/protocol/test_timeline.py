"""When tokens came: packed and read back, and noted from the steps of a turn without losing a moment or a token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.engine.event_batches import TurnBatcher
from qwen_core.protocol.events import Delta, StreamEvent
from qwen_core.protocol.timeline import KINDS, Moment, Timeline, of_tokens, packed
from support.clock import Clock

MOMENTS = st.builds(
    lambda kind, ticks, tokens: Moment(kind, ticks / 1e6, tokens if kind in ("prefill", "snapshot") else 1),
    st.sampled_from(KINDS),
    st.integers(0, (1 << 30) - 1),
    st.integers(0, (1 << 32) - 1),
)


@given(st.lists(MOMENTS, max_size=20), st.lists(MOMENTS, max_size=20))
def test_what_is_packed_is_read_back(one: list[Moment], two: list[Moment]) -> None:
    assert (packed(one) + packed(two)).moments() == [*one, *two]


def test_a_step_of_hours_is_as_long_as_can_be_told() -> None:
    (moment,) = packed([Moment("token", 7200.0)]).moments()
    assert 1000 < moment.seconds < 1100


def test_damaged_times_are_refused() -> None:
    with pytest.raises(ValueError, match="damaged"):
        Timeline(b"abc").moments()


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 3), st.booleans()), max_size=30), st.integers(0, 3))
def test_a_turn_is_told_step_by_step(steps: list[tuple[int, int, bool]], chunks: int) -> None:
    clock = Clock()
    batcher = TurnBatcher(1, clock)
    events = batcher.push(StreamEvent(to_prefill=10 * chunks, cached_tokens=5, kept_tokens=5))
    for chunk in range(1, chunks + 1):
        clock.now += 0.25
        events += batcher.push(StreamEvent(prefilled=10 * chunk, to_prefill=10 * chunks, cached_tokens=5))
    for ticks, count, drafted in steps:
        clock.now += ticks / 256
        events += batcher.push(StreamEvent(token_ids=tuple(range(count)), drafted=drafted))
    events += batcher.flush()
    moments = [moment for event in events if isinstance(event, Delta) for moment in event.timeline.moments()]
    if not steps:
        assert moments == []
        return
    assert moments[0] == Moment("snapshot", 0.0, 5)
    assert [moment.tokens for moment in moments if moment.kind == "prefill"] == [10] * chunks
    came = of_tokens(moments)
    assert [moment.kind for moment in came] == ["draft" if d else "token" for _, n, d in steps for _ in range(n)]
    spent = chunks * 0.25 + sum(ticks for ticks, *_ in steps) / 256
    assert sum(moment.seconds for moment in moments) == pytest.approx(spent, abs=1e-4)
