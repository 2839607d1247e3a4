"""What an answer leaves on the two streams: a terminal gets nothing that could act on it, a pipe the text as it is."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import StreamEvent
from qwen_tui.commands.terminal import Terminal
from support.fake_session import said


class Stream(io.StringIO):
    """A text stream that says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def show(events: tuple[StreamEvent, ...], *, out_terminal: bool, err_terminal: bool) -> tuple[str, str]:
    out, err = Stream(terminal=out_terminal), Stream(terminal=err_terminal)
    terminal = Terminal(out, err)
    for event in events:
        terminal.event(event)
    terminal.close()
    return out.getvalue(), err.getvalue()


@given(st.lists(st.text(), min_size=1))
def test_a_pipe_gets_the_models_text_as_it_is(pieces: list[str]) -> None:
    out, err = show(tuple(said(piece) for piece in pieces), out_terminal=False, err_terminal=False)
    text = "".join(pieces)
    assert out == (text if text.endswith("\n") or not text else text + "\n")
    assert err == ""


@given(st.lists(st.tuples(st.booleans(), st.text()), min_size=1))
def test_a_terminal_gets_no_control_character_of_the_model(pieces: list[tuple[bool, str]]) -> None:
    events = tuple(said(text, part="answer" if answer else "reasoning") for answer, text in pieces)
    out, err = show(events, out_terminal=True, err_terminal=True)
    for own in ("\x1b[2m", "\x1b[22m"):
        err = err.replace(own, "")
    for stream in (out, err):
        assert not [c for c in stream if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f"]


def test_reasoning_is_dim_on_a_terminal_and_plain_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[2mhm\x1b[22m" in show((said("hm", part="reasoning"),), out_terminal=True, err_terminal=True)[1]
    assert "\x1b" not in show((said("hm", part="reasoning"),), out_terminal=True, err_terminal=False)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in show((said("hm", part="reasoning"),), out_terminal=True, err_terminal=True)[1]


def test_progress_is_shown_to_people_alone_and_is_gone_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    events = (StreamEvent(prefilled=5, to_prefill=20), said("x"))
    assert show(events, out_terminal=False, err_terminal=False) == ("x\n", "")
    out, err = show(events, out_terminal=True, err_terminal=True)
    assert out == "x\n"
    assert "5 of 20 tokens" in err
    assert err.endswith("\r\x1b[K")
