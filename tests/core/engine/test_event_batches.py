"""Batches: nothing lost, nothing reordered, few enough, and each with the figures after its last token."""

import struct
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.engine.event_batches import Throttle, TurnBatcher
from qwen_core.protocol.events import Delta, Event, Notice, PrefillProgress, StreamEvent, TurnStarted
from qwen_core.protocol.expert_use import ExpertUse
from qwen_core.protocol.pieces import Part
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.stats import TokenRate
from support.clock import Clock
from support.fake_engine import stats
from support.fake_session import said

PARTS: tuple[Part, ...] = get_args(Part)


def token(text: str, *ids: int, part: Part = "answer") -> StreamEvent:
    return said(text, *ids, part=part, cached=2)


steps = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda ticks: ticks / 256),
        st.sampled_from(PARTS),
        st.text(max_size=3),
        st.lists(st.integers(0, 9), max_size=2),
    ),
    max_size=60,
)


@given(steps)
def test_batches_are_the_stream(turn: list[tuple[float, Part, str, list[int]]]) -> None:
    clock = Clock()
    batcher = TurnBatcher(7, clock)
    out: list[tuple[float, Event]] = []
    generated = 0
    for gap, part, text, ids in turn:
        clock.now += gap
        generated += len(ids)
        step = replace(token(text, *ids, part=part), stats=replace(stats(), generated_tokens=generated))
        out += [(clock.now, event) for event in batcher.push(step)]
    running = [(moment, event) for moment, event in out if isinstance(event, Delta)]
    out += [(clock.now, event) for event in batcher.push(StreamEvent(done=True, cached_tokens=2))]
    assert batcher.flush() == []

    deltas = [event for _, event in out if isinstance(event, Delta)]
    assert [event for _, event in out if not isinstance(event, Delta)] == [
        TurnStarted(7, *((1242, 2) if turn else (2, 2)))
    ]
    # Every piece and every id once, in order: joined runs of one part on both sides.
    assert joined([p for delta in deltas for p in delta.pieces]) == joined([(p, text) for _, p, text, _ in turn])
    assert [i for delta in deltas for i in delta.ids] == [i for *_, ids in turn for i in ids]
    for delta in deltas:
        assert list(delta.pieces) == joined(list(delta.pieces)), "a run of one part is one piece"
    # The figures are those of the stream so far.
    for count, delta in enumerate(deltas, 1):
        assert delta.stats is not None
        assert delta.stats.generated_tokens == sum(len(d.ids) for d in deltas[:count])
    # The first that has something to say says it at once.
    first = next((i for i, (_, _, text, ids) in enumerate(turn) if text or ids), None)
    if first is not None:
        assert running[0][0] == 1024 + sum(gap for gap, *_ in turn[: first + 1])
    # At most 20 in any second.
    moments = [moment for moment, _ in running]
    for start in moments:
        assert sum(start <= moment < start + 1 for moment in moments) <= 20


def joined(pieces: list[tuple[Part, str]]) -> list[tuple[Part, str]]:
    out: list[tuple[Part, str]] = []
    for part, text in pieces:
        if not text:
            continue
        if out and out[-1][0] == part:
            out[-1] = (part, out[-1][1] + text)
        else:
            out.append((part, text))
    return out


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.text(min_size=1, max_size=3), st.booleans()), max_size=40))
def test_what_drafts_said_stays_apart(turn: list[tuple[Part, str, bool]]) -> None:
    clock = Clock()
    batcher = TurnBatcher(7, clock)
    out: list[Event] = []
    for part, text, drafted in turn:
        clock.now += 0.03
        out += batcher.push(replace(token(text, 1, part=part), drafted=drafted))
    out += batcher.push(StreamEvent(done=True))
    told: list[tuple[Part, str, bool]] = []
    for delta in (event for event in out if isinstance(event, Delta)):
        flags = delta.drafted or (False,) * len(delta.pieces)
        for (part, text), drafted in zip(delta.pieces, flags, strict=True):
            told.extend((part, character, drafted) for character in text)
    assert told == [(part, character, drafted) for part, text, drafted in turn for character in text]


def test_a_slow_model_is_shown_token_by_token() -> None:
    clock = Clock()
    batcher = TurnBatcher(1, clock)
    for number in range(5):
        clock.now += 2.0
        deltas = [event for event in batcher.push(token("x", number)) if isinstance(event, Delta)]
        assert [delta.ids for delta in deltas] == [(number,)]


def test_prefill_is_reported_to_its_end_and_a_notice_keeps_its_place() -> None:
    clock = Clock()
    batcher = TurnBatcher(3, clock)
    out: list[Event] = []
    for done in range(101):
        out += batcher.push(StreamEvent(prefilled=done, to_prefill=100, cached_tokens=50))
        clock.now += 1 / 256
    out += batcher.push(token("a", 1))
    out += batcher.push(token("b", 2))
    out += batcher.push(StreamEvent(notice="look"))
    out += batcher.push(token("c", 3))
    out += batcher.push(StreamEvent(done=True))
    assert out[0] == TurnStarted(3, 150, 50)
    progress = [event for event in out if isinstance(event, PrefillProgress)]
    assert [event.done for event in progress] == [*range(0, 100, 26), 100]
    assert all((event.turn, event.total, event.cached_tokens) == (3, 100, 50) for event in progress)
    rest = out[1 + len(progress) :]
    assert [type(event) for event in rest] == [Delta, Delta, Notice, Delta]
    assert [event.pieces for event in rest if isinstance(event, Delta)] == [
        (("answer", "a"),),
        (("answer", "b"),),
        (("answer", "c"),),
    ]


@given(st.lists(st.integers(0, 64), min_size=1, max_size=200))
def test_a_throttle_keeps_the_last_and_its_rate(gaps: list[int]) -> None:
    clock = Clock()
    throttle: Throttle[int] = Throttle(clock)
    sent: list[tuple[float, int]] = []
    for number, gap in enumerate(gaps):
        clock.now += gap / 256
        sent += [(clock.now, report) for report in throttle.push(number)]
    assert sent[0][1] == 0
    for start, _ in sent:
        assert sum(start <= moment < start + 1 for moment, _ in sent) <= 20
    last = [report for _, report in sent] + throttle.flush()
    assert last[-1] == len(gaps) - 1
    assert last == sorted(set(last))
    assert throttle.flush() == []


@given(st.integers(1, 400), st.integers(1, 300), st.integers(1, 3))
def test_a_steady_rate_is_measured_exactly(ticks: int, arrivals: int, tokens: int) -> None:
    rate = TokenRate()
    for number in range(arrivals):
        rate.arrived(tokens, number * ticks / 256)
    # Exact up to the rounding of one division.
    assert rate.per_second == (pytest.approx(tokens * 256 / ticks, rel=1e-12) if arrivals > 1 else None)


def test_the_rate_forgets_what_is_older_than_a_second() -> None:
    rate = TokenRate()
    for moment in (0.0, 10.0, 10.25, 10.5, 10.75, 11.0, 11.25):
        rate.arrived(1, moment)
    assert rate.per_second == 4.0
    rate.arrived(1, 11.25)
    assert rate.per_second == 5.0


def test_the_latest_use_of_experts_comes_with_the_batch() -> None:
    clock = Clock()
    batcher = TurnBatcher(7, clock)
    uses = [ExpertUse(count, 2, 1, bytes([count, 0, 0, 0] * 2), bytes(2)) for count in range(4)]
    out = []
    for count, use in enumerate([*uses, None]):
        clock.now += 0.04
        out += batcher.push(replace(token("a", count), experts=use))
    out += batcher.flush()
    found = [event.experts for event in out if isinstance(event, Delta)]
    assert found[0] == uses[0]
    assert found[-1] == uses[-1]
    assert uses[3].of_layer(0) == ((3, 3), (0,))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), max_size=20))
def test_probabilities_travel_with_their_ids(turn: list[tuple[int, int]]) -> None:
    clock, number = Clock(), 0
    batcher = TurnBatcher(1, clock)
    out: list[Event] = []
    for ticks, count in turn:
        clock.now += ticks / 256
        ids = range(number, number + count)
        rows = b"".join(struct.pack("<3fIIf", -token, -token, 0.0, 1, token, -token) for token in ids)
        out += batcher.push(replace(token("x", *ids), probabilities=Probabilities(1, rows)))
        number += count
    out += batcher.flush()
    deltas = [event for event in out if isinstance(event, Delta)]
    for delta in deltas:
        assert delta.probabilities is not None
        assert [-logprob for logprob in delta.probabilities.logprobs()] == list(delta.ids)
    assert [id for delta in deltas for id in delta.ids] == list(range(number))
