"""The repetition guard against its rule spelled out, and what it must never and must always notice."""

import re
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_core.session.repetition_guard import Repetition, RepetitionGuard

LIMITS = st.tuples(st.integers(1, 12), st.integers(2, 5), st.integers(1, 24))
TOKENS = st.lists(st.integers(0, 3), max_size=120)
# Random tokens of few kinds seldom repeat for long; these are pieces said over and over.
LOOPY = st.lists(st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 8)), max_size=6).map(
    lambda pieces: [token for block, times in pieces for token in block * times]
)
# What answers are full of and is no loop: rows of which each has something of its own, lines of one sign, a refrain.
REPETITIVE = {
    "table": "".join(f"| {n} | {n * n} | {n**3} |\n" for n in range(200)),
    "code": "".join(f"    if kind == {n}:\n        return handlers[{n}](event, kind)\n" for n in range(100)),
    "json": "[" + ", ".join(f'{{"id": {n}, "parent": null, "children": [], "open": true}}' for n in range(100)) + "]",
    "matrix": "".join(" ".join("1" if row == column else "0" for column in range(60)) + "\n" for row in range(60)),
    "rules": "".join(f"{sign * 80}\n" for sign in "-=*-=*-=*~#"),
    "refrain": "".join(f"{n} green bottles, {n} green bottles hanging on the wall\n" * 2 for n in range(100, 0, -1)),
}


def repeats(tokens: Sequence[int], period: int) -> int:
    """How many of the last tokens are one block of `period` over and over; 0 if not even two tokens agree."""
    held = 0
    while held + period < len(tokens) and tokens[-1 - held] == tokens[-1 - held - period]:
        held += 1
    return held + period if held else 0


@given(LIMITS, TOKENS | LOOPY)
def test_the_rule_holds_token_by_token(limits: tuple[int, int, int], tokens: list[int]) -> None:
    max_period, copies, least = limits
    guard = RepetitionGuard(max_period, copies, least)
    for end in range(1, len(tokens) + 1):
        verdict = guard.push(tokens[end - 1])
        expected = [
            Repetition(period, count)
            for period in range(1, max_period + 1)
            if (count := repeats(tokens[:end], period)) >= max(copies * period, least) and count
        ]
        assert verdict == (expected[0] if expected else None)


@given(st.lists(st.integers(0, 300_000), max_size=400), st.data())
def test_every_endless_loop_is_noticed_in_time(before: list[int], data: st.DataObject) -> None:
    period = data.draw(st.one_of(st.integers(1, 12), st.sampled_from([100, 511, 512])))
    block = data.draw(st.lists(st.integers(0, 300_000), min_size=period, max_size=period))
    guard = RepetitionGuard()
    for token in before:
        guard.push(token)
    for count in range(max(guard.least_copies * period, guard.least_tokens)):
        verdict = guard.push(block[count % period])
        if verdict is not None:
            assert verdict.copies >= 4
            return
    raise AssertionError("not noticed")


@given(st.lists(st.integers(0, 300_000), max_size=2000, unique=True), st.integers(1, 3))
def test_text_without_repeats_never_sets_it_off(tokens: list[int], times: int) -> None:
    """Nor does the same text two or three times over: a refrain is no loop."""
    guard = RepetitionGuard()
    assert not any(guard.push(token) for token in tokens * times)


@limits(max_examples=20)
@given(st.integers(1, 512), st.integers(0, 10**6))
def test_one_other_token_begins_the_count_anew(period: int, place: int) -> None:
    """A loop that says another word in each fourth copy is never noticed; without that word it is."""
    for other, noticed in ((-1, False), (place % period, True)):
        guard = RepetitionGuard()
        verdicts = []
        for copy in range(max(12, 1024 // period)):
            block = list(range(period))
            # Before the guard's patience is over, whichever of its two limits counts.
            if copy % min(3, max(1, 255 // period)) == 0:
                block[place % period] = other - copy if other < 0 else other
            verdicts += [guard.push(token) for token in block]
        assert any(verdicts) is noticed


@pytest.mark.parametrize("kind", REPETITIVE)
def test_text_that_repeats_much_of_itself_does_not_set_it_off(kind: str) -> None:
    kinds: dict[str, int] = {}
    guard = RepetitionGuard()
    for word in re.findall(r" ?\w+|\s+|\W", REPETITIVE[kind]):
        assert guard.push(kinds.setdefault(word, len(kinds))) is None, word


def test_memory_is_bounded() -> None:
    guard = RepetitionGuard(max_period=64)
    sizes = []
    for token in range(20_000):
        guard.push(token)
        sizes.append(sum(sys.getsizeof(part) for part in (guard._window, guard._places, guard._held)))
    assert max(sizes[10_000:]) == max(sizes[:10_000])
    for _ in range(20_000):
        guard.push(7)
    assert len(guard._held) == len(guard._places[7]) == 64


def test_a_verdict_is_said_in_words() -> None:
    assert str(Repetition(1, 300)) == "the same one token 300 times in a row"
    assert str(Repetition(7, 258)) == "the same 7 tokens 36 times in a row"


@pytest.mark.parametrize("limits", [(0, 4, 256), (512, 1, 256), (512, 4, 0)])
def test_limits_that_make_no_sense_are_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="two blocks"):
        RepetitionGuard(*limits)
