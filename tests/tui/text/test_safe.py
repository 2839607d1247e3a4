"""Untrusted text: nothing a terminal acts on gets through, everything else does."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.text.safe import cells, one_line, typed, visible

ANY = st.text(st.characters(exclude_categories=()), max_size=60)
HARMFUL = {"Cc", "Cs", "Zl", "Zp"}
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(ANY)
def test_what_is_shown_holds_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if c not in "\n\t" and (unicodedata.category(c) in HARMFUL or c in BIDI)]


@given(ANY)
def test_showing_twice_changes_nothing(text: str) -> None:
    assert visible(visible(text)) == visible(text)


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs", "M")), max_size=60))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text == typed(text)


def test_control_characters_are_named_and_emoji_keep_their_joiners() -> None:
    assert visible("\x1b[31m\x00\x7f\x9b\u202e") == "␛[31m␀␡⟨U+009B⟩⟨U+202E⟩"
    family = "👩\u200d👩\u200d👧 🏴\U000e0067\U000e0062\U000e007f"
    assert visible(family) == family
    assert visible("a\r\nb\tc\rd") == "a\nb\tc␍d"


@given(ANY)
def test_what_is_typed_holds_no_control_character(text: str) -> None:
    assert not [c for c in typed(text) if c not in "\n\t" and unicodedata.category(c) in HARMFUL]


def test_pasted_line_ends_become_newlines() -> None:
    assert typed("a\r\nb\rc\x1b[0m\x00") == "a\nb\nc[0m"


@given(ANY, st.integers(2, 30))
def test_one_line_is_one_short_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert "\n" not in line


def test_wide_and_combining_characters_count_their_cells() -> None:
    assert (cells("abc"), cells("東京"), cells("e\u0301"), cells("🎉")) == (3, 4, 1, 2)
