"""Tokens and the text that they write: whatever the bytes, each token knows its characters, and no cell moves."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content, Span

from qwen_core.protocol.scoring import Spelling
from qwen_tui.lens.answer_text import Passage, passages, strengths, under_cursor
from qwen_tui.lens.text_view import lines_of
from qwen_tui.text.block_layout import Block, lay_out
from qwen_tui.text.safe import cells, visible

CHARACTERS = st.one_of(
    st.characters(codec="utf-8"),
    st.sampled_from(
        ["日", "é", "e\u0301", "👩‍👧", "🇩🇪", "👍🏽", "\u200d", "\ufe0f", "\r\n", "\n", "\t", " ", "\u202e", "\x1b"]
    ),
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, list[Spelling]]:
    """A text, and tokens that write it: its bytes cut anywhere."""
    text = "".join(draw(st.lists(CHARACTERS, max_size=30)))
    raw = text.encode()
    cuts = sorted({0, len(raw), *draw(st.lists(st.integers(0, len(raw)), max_size=40))})
    return text, [Spelling(n, raw[a:b]) for n, (a, b) in enumerate(pairwise(cuts))]


@given(texts())
def test_tokens_cover_the_text_in_order(given_text: tuple[str, list[Spelling]]) -> None:
    text, tokens = given_text
    found = passages(tokens)
    if not tokens:
        assert found == []
        return
    (passage,) = found
    if "\t" not in text:
        assert passage.text == visible(text)
    assert len(passage.spans) == len(tokens)
    at = 0
    for begin, end in passage.spans:
        assert begin <= at <= max(end, at)
        at = max(at, end)
    assert at == len(passage.text)


@given(texts(), st.data(), st.integers(4, 40))
def test_the_lens_changes_no_cell(given_text: tuple[str, list[Spelling]], data: st.DataObject, width: int) -> None:
    """Row by row it is the plain text as it is laid out anywhere, and styles begin and end where cells do."""
    _, tokens = given_text
    for passage in passages(tokens):
        levels = data.draw(st.lists(st.integers(0, 5), min_size=len(tokens), max_size=len(tokens)))
        plain = lay_out(Block(Content(passage.text)), width)
        drawn = lines_of(0, passage, levels)
        cursor = under_cursor(passage, data.draw(st.integers(0, len(tokens) - 1)))
        rows = [row for line in drawn for row in lay_out(Block(line.content), width).rows]
        assert [row.content.plain for row in rows] == [row.content.plain for row in plain.rows]
        for span in (*(span for span, _ in strengths(passage, levels)), cursor):
            cut = [passage.text[: span[0]], passage.text[slice(*span)], passage.text[span[1] :]]
            assert sum(map(cells, cut)) == cells(passage.text)


@given(texts(), st.data())
def test_a_character_of_several_tokens_looks_like_the_least_sure(
    given_text: tuple[str, list[Spelling]], data: st.DataObject
) -> None:
    _, tokens = given_text
    for passage in passages(tokens):
        levels = data.draw(st.lists(st.integers(0, 5), min_size=len(tokens), max_size=len(tokens)))
        runs = strengths(passage, levels)
        for (begin, end), level in zip(passage.spans, levels, strict=True):
            for place in range(begin, end):
                drawn = next(drawn for span, drawn in runs if span[0] <= place < span[1])
                assert drawn >= level
        assert {level for _, level in runs} <= {0, *levels}


def test_control_tokens_and_ids_without_a_token_are_named() -> None:
    end = Spelling(9, b"<|im_end|>", control=True)
    tokens = [Spelling(1, b"Yes"), Spelling(400, b""), Spelling(8, b"</think>", control=True), end]
    text, names = passages(tokens)
    assert (text.text, text.control, text.spans) == ("Yes⟨400⟩", False, ((0, 3), (3, 8)))
    assert (names.text, names.control, names.first) == ("</think> <|im_end|>", True, 2)
    assert names.spans == ((0, 8), (9, 19))


@pytest.mark.parametrize("cut", range(1, 4))
def test_parts_of_a_character_all_stand_on_it(cut: int) -> None:
    raw = "a👩b".encode()
    tokens = [Spelling(0, b"a"), Spelling(1, raw[1 : 1 + cut]), Spelling(2, raw[1 + cut : 5]), Spelling(3, b"b")]
    (passage,) = passages(tokens)
    assert passage.spans == ((0, 1), (1, 2), (1, 2), (2, 3))
    assert [under_cursor(passage, n) for n in range(4)] == [(0, 1), (1, 2), (1, 2), (2, 3)]
    assert Content(passage.text, [Span(1, 2, "bold")]).plain == "a👩b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301x", [(0, 2), (2, 3)]),
        ("👩\u200d👧!", [(0, 3), (3, 4)]),
        ("\u200d0x", [(0, 2), (2, 3)]),
        ("\u0301a", [(0, 1), (1, 2)]),
        ("", []),
    ],
    ids=["an accent", "a family", "a joiner first", "an accent first", "nothing"],
)
def test_what_takes_its_cells_together_is_not_cut(text: str, expected: list[tuple[int, int]]) -> None:
    assert Passage(0, text, ()).clusters == expected
