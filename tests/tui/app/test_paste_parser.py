"""What a terminal sends, pastes with escape sequences in them among it, in whatever pieces it comes."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from textual import constants, events
from textual._xterm_parser import XTermParser

from qwen_tui.app.paste_parser import PasteParser

START, END = "\x1b[200~", "\x1b[201~"
LOG = "first \x1b[31mred\x1b[0m second\r\nthird line\rfourth \x1b]8;;\x07 \x1b"
PARTS = st.sampled_from(
    [
        "\x1b",
        "\x1b[",
        "\x1b[20",
        "\x1b[31m",
        "\x1b[A",
        START,
        "[201~",
        "\x1b[201",
        "\r",
        "\n",
        "\t",
        "\x00",
        "\x9b",
        "a",
        "é",
    ]
)
TEXT = st.lists(PARTS, max_size=8).map("".join).filter(lambda text: END not in text)
KEYS = st.lists(st.sampled_from([("a", "a"), ("\x1b[A", "up"), ("\r", "enter"), ("\x1bOP", "f1")]), max_size=3)


def said(parser: XTermParser, text: str, cuts: list[int]) -> Iterator[tuple[str, str]]:
    """Kind and content of what the parser makes of `text`, cut at these places."""
    ends = [*sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    for begin, end in zip([0, *ends], ends, strict=False):
        for message in parser.feed(text[begin:end]) if begin < end else ():
            if isinstance(message, events.Paste):
                yield "paste", message.text
            elif isinstance(message, events.Key):
                yield "key", message.key


def printable(text: str) -> str:
    return "".join(c for c in text if c in "\t\n\r" or c.isprintable())


@given(before=KEYS, text=TEXT, after=KEYS, cuts=st.lists(st.integers(0, 200), max_size=12))
@example(before=[], text=LOG, after=[("\r", "enter")], cuts=list(range(200)))
@example(before=[("\x1bOP", "f1")], text="", after=[], cuts=[])
def test_a_paste_is_one_paste_and_presses_no_key(
    before: list[tuple[str, str]], text: str, after: list[tuple[str, str]], cuts: list[int]
) -> None:
    sent = "".join([*(spelling for spelling, _ in before), START, text, END, *(spelling for spelling, _ in after)])
    expected = [("key", key) for _, key in before]
    expected += [("paste", printable(text)), *(("key", key) for _, key in after)]
    assert list(said(PasteParser(), sent, cuts)) == expected


def test_the_toolkit_needs_it() -> None:
    """Where this fails, textual reads such pastes itself: paste_parser.py and this file have had their time."""
    assert [kind for kind, _ in said(XTermParser(), START + LOG + END, [])] != ["paste"]


def test_escape_is_a_key_where_nothing_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first character of a mark that never comes; what looks like the rest of one then is text."""
    monkeypatch.setattr(constants, "ESCAPE_DELAY", 0.0)
    parser = PasteParser()
    assert list(said(parser, "\x1b", [])) == []
    assert [message.key for message in parser.tick() if isinstance(message, events.Key)] == ["escape"]
    assert list(said(parser, "[200~", [])) == [("key", key) for key in ("left_square_bracket", "2", "0", "0", "tilde")]
    assert list(said(parser, "\r", [])) == [("key", "enter")]
