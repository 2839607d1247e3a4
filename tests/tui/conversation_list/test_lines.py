"""The lines of the list of conversations: ages, excerpts, rows; pure, so random inputs against what must hold."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from qwen_tui.conversation_list.lines import (
    HIT,
    MARGIN,
    Look,
    age,
    detail,
    excerpt,
    height_of,
    marked,
    moment,
    row_lines,
    rows_of,
    shown_title,
)
from qwen_tui.store import ConversationSummary, Hit
from qwen_tui.text.safe import visible
from qwen_tui.widgets.cursor_list import Heading
from support.conversations_stage import DAY, HOUR, MINUTE, NOW
from support.stores import MODEL

TEXT = st.text(st.characters() | st.sampled_from("\x1b\x9b\x00\n\u202e東a é👩"), max_size=60)
SNIPPET = st.lists(st.tuples(TEXT, st.booleans()), max_size=6)
WIDTH = st.integers(0, 130)


def hits_in(line: Content) -> list[str]:
    return [line.plain[span.start : span.end] for span in line.spans if span.style == HIT]


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (0, "now"),
        (59, "now"),
        (MINUTE, "1 min"),
        (59 * MINUTE, "59 min"),
        (HOUR, "1 h"),
        (13 * HOUR, "13 h"),  # today, 01:00
        (15 * HOUR, "yesterday"),
        (37 * HOUR, "yesterday"),
        (39 * HOUR, "11 Nov"),
        (300 * DAY, "17 Jan"),
        (400 * DAY, "Oct 2024"),
        (-90, "now"),  # another machine's clock
        (-3 * DAY, "16 Nov"),
        (float("inf"), "?"),
        (float("nan"), "?"),
        (-1e300, "?"),
    ],
)
def test_ages(ago: float, said: str) -> None:
    assert age(NOW, NOW - ago) == said


def test_shortly_after_midnight_hours_count() -> None:
    midnight = NOW - 14 * HOUR
    assert age(midnight + HOUR, midnight - HOUR) == "2 h"
    assert age(midnight + HOUR, midnight - 6 * HOUR) == "yesterday"


@given(now=st.floats(0, 4e9), then=st.floats(allow_nan=True, allow_infinity=True))
def test_any_time_has_a_short_age(now: float, then: float) -> None:
    assert 0 < len(age(now, then)) <= 9
    assert moment(then)


@given(snippet=SNIPPET, width=st.integers(0, 60))
def test_an_excerpt_fits_and_shows_the_hit(snippet: list[tuple[str, bool]], width: int) -> None:
    line = excerpt(snippet, width)
    text = line.plain
    assert line.cell_length <= width
    assert not any(sign in text for sign in "\x1b\x9b\x00\n\u202e")
    hits = [text for text, found in snippet if found and text.isascii() and text.isalnum()]
    if hits and width >= 12 and next(text for text, found in snippet if found) == hits[0]:
        assert any(found[0] == hits[0][0] for found in hits_in(line))


@given(before=st.text("ab ", max_size=80), after=st.text("cd ", max_size=80), width=st.integers(10, 60))
def test_an_excerpt_wastes_no_room(before: str, after: str, width: int) -> None:
    line = excerpt([(before, False), ("HIT", True), (after, False)], width)
    text = line.plain
    assert hits_in(line) == ["HIT"]
    whole = "".join(before.split(" ")) + "HIT" + "".join(after.split(" "))
    if "…" in text:
        assert len(text) >= width - 1, "cut although there is room"
    else:
        assert "".join(text.split(" ")) == whole


def test_a_word_of_a_megabyte_is_no_work() -> None:
    line = excerpt([("x" * 1_000_000, False), ("hit", True), ("y" * 1_000_000, False)], 40)
    assert hits_in(line) == ["hit"]


@given(text=TEXT, query=TEXT)
def test_marking_changes_no_text(text: str, query: str) -> None:
    line = marked(visible(text), visible(query))
    assert line.plain == visible(text)
    if query and query in text:
        assert hits_in(line)


SUMMARY = ConversationSummary(1, "x", NOW, NOW, False, None, None, MODEL, 3, False)


@given(
    title=TEXT,
    width=WIDTH,
    turns=st.integers(0, 10**9),
    updated=st.floats(),
    pinned=st.booleans(),
    interrupted=st.booleans(),
    name=TEXT,
    cursor=st.booleans(),
)
def test_a_conversation_is_one_line_that_fits(
    title: str,
    width: int,
    turns: int,
    updated: float,
    pinned: bool,
    interrupted: bool,
    name: str,
    cursor: bool,
) -> None:
    row = replace(
        SUMMARY,
        title=title,
        turns=turns,
        updated_at=updated,
        pinned=pinned,
        interrupted=interrupted,
        model=replace(MODEL, name=name),
    )
    (line,) = row_lines(row, width, Look(NOW, "a", 1), cursor=cursor)
    text = line.plain
    assert line.cell_length <= max(width, 4)
    assert not any(sign in text for sign in "\x1b\x9b\x00\n\u202e")
    if width >= MARGIN:
        assert (text[2] == "★") == pinned
        assert (text[0] == "▸") == cursor
    assert detail(row, [])


@given(title=TEXT, snippet=SNIPPET, width=WIDTH)
def test_a_hit_is_two_lines_that_fit(title: str, snippet: list[tuple[str, bool]], width: int) -> None:
    hit = Hit(1, title, 2, "assistant", "reasoning", tuple(snippet), NOW)
    lines = row_lines(hit, width, Look(NOW))
    assert len(lines) == height_of(hit)
    for line in lines:
        assert line.cell_length <= max(width, 4 + len(" · reasoning · now"))


def test_what_a_line_says_by_its_width() -> None:
    row = replace(SUMMARY, title="A title of some length", interrupted=True)

    def text(width: int) -> str:
        return row_lines(row, width, Look(NOW, "", 1))[0].plain

    for width in (60, 100, 160):
        for words in ("3 turns", "now", "interrupted"):
            assert words in text(width)
        assert ("Qwen3.6-27B" in text(width)) == (width >= 100)
    assert "A title of some length" in text(100)
    assert "now" in text(40) and "turns" not in text(40)


def test_headings_stand_above_what_was_found_alone() -> None:
    hit = Hit(1, "x", 2, "user", "content", (("x", True),), NOW)
    assert rows_of([SUMMARY], [hit], searched=False, more=True, limit=9) == [SUMMARY]
    rows = rows_of([SUMMARY], [hit], searched=True, more=True, limit=1)
    assert rows == [Heading("Titles (1+)"), SUMMARY, Heading(""), Heading("Messages (the best 1)"), hit]
    assert rows_of([], [hit], searched=True, more=False, limit=9) == [Heading("Messages (1)"), hit]
    assert rows_of([], [], searched=True, more=False, limit=9) == []


def test_a_title_of_nothing_is_named() -> None:
    assert shown_title("\u200b \n") == "(without a title)"
