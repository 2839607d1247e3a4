"""Which blocks of a growing answer are finished, against what markdown-it makes of the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from qwen_tui.text.finished_blocks import MAX_BRACKETS, answer_parser, finished_length, is_costly
from qwen_tui.text.markdown import parse_markdown

LINES = st.sampled_from(
    """text
more *text*

- item
  - inner
1. one
2. two
```python
```
    code
> quote
# head
===
---
| a | b |
|---|---|
| 1 | 2 |
  indented
<b>raw</b>
~~~
* star
東京""".splitlines()
)
DOCUMENTS = st.lists(LINES, max_size=14).map("\n".join)


def top_blocks(text: str) -> list[tuple[str, tuple[int, int]]]:
    """(type, line range) of the top-level blocks, by the library's own parser with nothing switched off."""
    tokens: list[Token] = MarkdownIt("gfm-like", {"html": False}).parse(text)
    return [(t.type, (t.map[0], t.map[1])) for t in tokens if t.level == 0 and t.map is not None]


@given(DOCUMENTS, DOCUMENTS)
def test_finished_blocks_are_blocks_of_whatever_follows(text: str, more: str) -> None:
    length = finished_length(text)
    assert length == 0 or text[length - 1] == "\n"
    lines = text[:length].count("\n")
    finished = top_blocks(text[:length])
    whole = [block for block in top_blocks(text + more) if block[1][0] < lines]
    assert [(kind, span[0]) for kind, span in finished] == [(kind, span[0]) for kind, span in whole]
    assert all(span[1] <= lines for _, span in whole)


def test_all_but_the_last_block_is_finished() -> None:
    assert finished_length("one\n\ntwo") == 0  # "two" may yet turn out to be anything: its line has no end
    assert finished_length("one\n\ntwo\n") == len("one\n\n")
    assert finished_length("1. a\n\n2") == 0
    assert finished_length("```\na\n\nb\n") == 0


def test_entities_do_not_smuggle_control_characters_in() -> None:
    tokens = answer_parser().parse("a &#x202e; b &#x9b; [x](http://e.org/&#x202e;) `&#27;`\n\n```&#x202e;\ny\n```\n")
    texts = [part.content + part.info for token in tokens for part in (token, *(token.children or ()))]
    assert texts
    assert not any(c in "\u202e\x9b\x1b" for text in texts for c in text)


def test_raw_html_is_text() -> None:
    inline = next(token for token in answer_parser().parse("a <b>bold</b>") if token.type == "inline")
    assert {child.type for child in inline.children or ()} == {"text"}
    assert "".join(child.content for child in inline.children or ()) == "a <b>bold</b>"


@pytest.mark.parametrize("opening", ["![", "[", "[a](", "[["])
def test_a_paragraph_of_nothing_but_beginnings_of_links_is_text(opening: str) -> None:
    """The parser would look for the end of each."""
    hostile = opening * (MAX_BRACKETS + 1)
    (block, other) = parse_markdown(f"{hostile}\n\n**bold** [link](https://example.org)")
    assert block.content.plain == hostile
    assert other.content.plain == "bold link"
    assert parse_markdown("[a](b) " * 20)[0].content.plain == "a " * 19 + "a"


@pytest.mark.parametrize("line", ["{}. x\n", "- a\n", "> a\n", "ab\n\n", "[a](b) and [c](d)\n\n"])
def test_what_takes_seconds_is_shown_as_it_was_written(line: str) -> None:
    text = "".join(line.replace("{}", str(number)) for number in range(20_000))
    assert finished_length(text) == 0
    assert "\n".join(block.content.plain for block in parse_markdown(text)) == text.strip("\n")


def test_a_long_answer_with_much_code_is_markdown() -> None:
    code = "```python\n" + "x = [1]\n" * 20_000 + "```\n\n"
    items, short = "- **a** [b](c)\n" * 500, "~~~\ny\n~~~~\n\n" * 500
    text = f"# Title\n\n{items}\n{code}{short}end\n"
    assert finished_length(text) == len(text) - len("end\n")
    kinds = [block.kind for block in parse_markdown(text)]
    assert kinds.count("code") == 501
    assert parse_markdown(text)[1].content.plain == "a b"


@pytest.mark.parametrize(
    "before",
    ["- a\n  ```\n  x\n\npara\n\n", "```\n```~~~\n```\n", "> ```\n\n", "```\n", "   ```\n"],
)
def test_what_only_looks_like_code_counts(before: str) -> None:
    """The parser ends a block of code with its list or quote, and at a line of its own marks alone."""
    text = before + "- a\n" * 20_000
    assert is_costly(text)


@pytest.mark.parametrize(
    "text", ["~" * 90_000, "```a\n" * 30_000, "- " * 9_000, "*a* " * 5_000, "1. " * 9_000, ">" * 9_000]
)
def test_marks_again_and_again_are_found_costly_in_one_pass(text: str) -> None:
    assert is_costly(text)


@pytest.mark.parametrize(("columns", "rows"), [(60, 1_080), (400, 65), (3, 1_900)])
def test_a_table_costs_the_cells_that_its_rows_leave_out(columns: int, rows: int) -> None:
    head = "|a" * columns + "|\n" + "|-" * columns + "|\n"
    assert is_costly(head + "|\n" * rows) == (columns > 3)
    assert not is_costly(head + "|\n" * 9)
