"""Blocks of text fall into rows: none wider than there is room for, nothing lost, growing text as if it came whole."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from qwen_tui.text.block_layout import Block, Laid, column_widths, finder, lay_out
from qwen_tui.text.finished_blocks import finished_length
from qwen_tui.text.markdown import parse_markdown
from qwen_tui.text.safe import visible
from qwen_tui.widgets.plain_text import SEAL_AT, plain_blocks
from support.markdown_texts import Author, missing

LINES = st.sampled_from(
    """text of several *emphasised* words with `code` and [a link](https://example.org/a)
a-very-long-word-without-any-place-where-it-could-be-broken-in-two-parts

- item
  - inner item of some length that wraps

    with a second paragraph
1. one
12. twelve
```python
def f(x): return x + 1
```
    indented code
> quote
> - list in it
# head
---
| a | b | c |
|---|:-:|--:|
| 1 | 東京東京東京 | a long cell, so long that it wraps |
| x |
<b>raw</b>
🎉🎉🎉 👩\u200d👩\u200d👧 e\u0301e\u0301
[a]: https://example.org/b
[a] or [b][a]
tab\tand tab""".splitlines()
)
DOCUMENTS = st.lists(LINES, max_size=14).map("\n".join)
WIDTHS = st.integers(1, 90)


def rows(blocks: list[Block], width: int) -> list[str]:
    laid = [lay_out(block, width) for block in blocks]
    return [row.signs.plain + row.content.plain for each in laid for row in each.rows]


def looks(blocks: list[Block]) -> list[tuple[object, ...]]:
    """Everything about blocks that can be seen, gaps before all but the first included."""
    return [
        (
            block.kind,
            block.content.markup,
            block.first.markup,
            block.rest.markup,
            number > 0 and block.gap and block.gap.markup,
            lay_out(block, 40).texts,
        )
        for number, block in enumerate(blocks)
    ]


@given(DOCUMENTS, WIDTHS)
def test_no_row_is_wider_than_there_is_room_for(text: str, width: int) -> None:
    for row in rows(parse_markdown(visible(text)), max(2, width)):
        assert cell_len(row) <= max(2, width) or width < 12, row


@given(DOCUMENTS, st.integers(12, 90), st.integers(12, 90))
def test_at_every_width_there_is_the_same_text(text: str, width: int, other: int) -> None:
    def letters(at: int) -> str:
        return "".join(sorted(re.sub(r"[\W_]", "", "".join(rows(parse_markdown(visible(text)), at)))))

    tables = "|---|" in text
    if not tables:  # a narrow table names its columns again for each cell
        assert letters(width) == letters(other)


@given(DOCUMENTS, WIDTHS)
def test_rows_say_where_they_are_in_the_text(text: str, width: int) -> None:
    for block in parse_markdown(visible(text)):
        laid = lay_out(block, width)
        for row in laid.rows:
            line = laid.texts[row.line]
            lead = row.signs.plain if row.signs_are_text else ""
            assert line[row.column :].startswith(lead + row.content.plain.rstrip())


@given(DOCUMENTS, st.lists(st.integers(1, 60), max_size=12))
def test_blocks_that_came_one_by_one_are_those_of_the_whole(text: str, sizes: list[int]) -> None:
    text = visible(text)
    blocks: list[Block] = []
    done = end = 0
    for size in sizes:
        end += size
        newly = finished_length(text[done:end])
        blocks += parse_markdown(text[done : done + newly])
        done += newly
    blocks += parse_markdown(text[done:])
    assert looks(blocks) == looks(parse_markdown(text))


@given(DOCUMENTS, st.sampled_from(["a", "IT", "東", "code", "x + 1", "|", "["]), st.integers(12, 90))
def test_matches_are_counted_where_they_begin_and_rows_stay(text: str, needle: str, width: int) -> None:
    find = finder(needle)
    for block in parse_markdown(visible(text)):
        plain, marked = lay_out(block, width), lay_out(block, width, find)
        assert [row.content.plain for row in marked.rows] == [row.content.plain for row in plain.rows]
        if block.kind == "text":
            assert len(marked.hits) == sum(
                block_line.lower().count(needle.lower()) for block_line in block.content.plain.expandtabs(8).split("\n")
            )
            assert_hits(marked, needle)


def assert_hits(laid: Laid, needle: str) -> None:
    for place in laid.hits:
        below = "".join(row.content.plain for row in laid.rows[place : place + 1 + len(needle)])
        assert needle[0].lower() in below.lower()


@given(st.lists(st.lists(st.integers(0, 200), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(4, 120))
def test_columns_fill_what_there_is_and_the_widest_give_way(cells: list[list[int]], room: int) -> None:
    natural = [max(1, *column) for column in zip(*cells, strict=True)]
    widths = column_widths(cells, room)
    if widths is None:
        assert sum(min(width, 4) for width in natural) + 10 > room
        return
    assert sum(widths) + 10 == min(sum(natural) + 10, room)
    assert all(width <= most for width, most in zip(widths, natural, strict=True))
    cut = [width for width, most in zip(widths, natural, strict=True) if width < most]
    assert max(widths) - min(cut, default=max(widths)) <= 1, "what was not cut is no wider than what was"


@given(st.text("ab \n東", max_size=9).map(lambda part: part * 700), st.integers(1, 6000))
def test_growing_plain_text_is_parted_for_good(text: str, cut: int) -> None:
    blocks, sealed = plain_blocks(text)
    assert sum(len(block.content.plain) for block in blocks) + text.count("\n") >= len(text.replace("\n", ""))
    assert all(len(block.content.plain) <= 2 * SEAL_AT for block in blocks)
    earlier, length = plain_blocks(text[:cut])
    assert length <= sealed
    assert [part.content.plain for part in earlier[:-1]] == [part.content.plain for part in blocks[: len(earlier) - 1]]
    again, _ = plain_blocks(text[length:])
    assert [part.content.plain for part in earlier[:-1] + again] == [part.content.plain for part in blocks]


@pytest.mark.parametrize("width", [20, 28, 29, 60])
def test_a_table_too_wide_for_the_screen_becomes_lines(width: int) -> None:
    text = "| alpha | beta | gamma | delta |\n|-|-|-|-|\n| 1 | 2 | 3 | 4 |\n| 5 | 6 | 7 | 8 |\n"
    drawn = "\n".join(rows(parse_markdown(text), width))
    assert ("alpha: 1" in drawn) == (width < 29)
    assert ("│" in drawn) == (width >= 29)


def test_what_a_list_a_quote_and_code_look_like() -> None:
    text = "1. one\n2. two\n   - inner\n\n> said\n\n```\nx = 1\n\ty\n```\n"
    assert rows(parse_markdown(text), 20) == ["1. one", "2. two", "   ▪ inner", "▌ said", "⧉ copy", " x = 1", "     y"]


@given(
    st.lists(st.text("ab 東", max_size=40), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9))),
    st.sampled_from(["", "- ", "> 1. "]),
    st.integers(1, 30),
)
def test_rows_of_code_take_their_part_of_the_colours_of_its_lines(
    lines: list[str], parts: list[tuple[int, int]], marks: str, width: int
) -> None:
    block = Block(Content("\n".join(lines)), "code", Content(marks), Content(" " * len(marks)))
    spans: list[tuple[int, int, str]] = []
    for gap, length in parts:
        begin = (spans[-1][1] if spans else 0) + gap
        spans.append((begin, begin + length, f"style {begin}"))
    laid = lay_out(block, width)
    for row in laid.rows:
        coloured = row.coloured(spans).content
        assert coloured.plain == row.content.plain
        lead = len(laid.texts[row.line]) - len(block.content.plain.split("\n")[row.line])
        begin = row.column + (len(row.signs.plain) if row.signs_are_text else 0) - lead
        for place in range(len(coloured.plain)):
            styles = [span.style for span in coloured.spans if span.start <= place < span.end]
            column = begin + place
            assert styles == ["$text", *(style for start, end, style in spans if start <= column < end)]


@limits(max_examples=100)
@given(st.randoms(use_true_random=False), st.integers(12, 120))
def test_every_word_of_an_answer_is_on_the_screen(rng: Random, width: int) -> None:
    author = Author(rng)
    text = author.document()
    drawn = rows(parse_markdown(visible(text)), width)
    assert missing(author.words, drawn) == []
    assert all(cell_len(row) <= width for row in drawn)  # else the end of it is not on the screen


def test_what_has_no_place_in_markdown_is_shown_all_the_same() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 | *3* \\| 4 | 5 |\n| 6 |\n"
    assert rows(parse_markdown(table), 40) == [
        "┌───┬───┬───────────┐",
        "│ a │ b │           │",
        "├───┼───┼───────────┤",
        "│ 1 │ 2 │ 3 | 4 | 5 │",
        "│ 6 │   │           │",
        "└───┴───┴───────────┘",
    ]
    assert rows(parse_markdown("```js app.js  (new)\nx\n```"), 40) == ["⧉ js app.js (new)", " x"]


@pytest.mark.parametrize("mark", ["- ", "> ", "1. ", "> - "])
@pytest.mark.parametrize("depth", [5, 19, 25, 39, 41, 200])
def test_deep_nesting_hides_nothing(mark: str, depth: int) -> None:
    assert "here" in " ".join(rows(parse_markdown(mark * depth + "here"), 400))


def test_a_table_of_a_thousand_columns_is_shown_as_it_was_written() -> None:
    lines = ["|".join(f"c{number}" for number in range(1000)), "|".join("-" * 1000), "|".join("x" * 1000)]
    (block,) = parse_markdown("\n".join(lines))
    assert block.kind == "text"
    assert block.content.plain == "\n".join(lines)


def test_numbers_of_a_list_end_at_one_column() -> None:
    blocks = parse_markdown("\n".join(f"{number}. x" for number in range(8, 12)))
    assert [block.first.plain for block in blocks] == [" 8. ", " 9. ", "10. ", "11. "]
