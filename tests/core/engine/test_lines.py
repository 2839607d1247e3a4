"""Messages between ranks come through a terminal whole, whatever is in them and around them."""

import io
import os
import pty
import termios
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.engine.lines import LINE, MAX_MESSAGE, Speaker, as_lines, read_messages

TEXTS = st.text(st.characters(), max_size=4 * LINE)
MESSAGES = st.lists(st.dictionaries(st.text(max_size=5), TEXTS | st.integers() | st.none(), max_size=3), max_size=4)
NOISE = st.lists(st.sampled_from([b"", b"Last login: today", b"\xff\xfe\x1b[31m", b"+@", b"@"]), max_size=3)


@given(messages=MESSAGES, noise=NOISE)
def test_messages_are_read_as_they_were_said(messages: list[dict[str, Any]], noise: list[bytes]) -> None:
    between = b"".join(line + b"\n" for line in noise)
    said = between + b"".join(as_lines(message).replace(b"\n", b"\r\n") + between for message in messages)
    others: list[str] = []
    assert list(read_messages(io.BytesIO(said), others.append)) == messages
    assert len(others) == len(noise) * (len(messages) + 1)


@given(message=st.dictionaries(st.text(max_size=5), TEXTS, max_size=3))
def test_a_line_is_short_and_has_no_character_that_a_terminal_takes_for_a_key(message: dict[str, Any]) -> None:
    *lines, end = as_lines(message).split(b"\n")
    assert end == b""
    assert all(len(line) <= LINE + 2 and set(line) <= set(range(32, 127)) for line in lines)


def test_long_messages_pass_a_terminal() -> None:
    """One like that which ssh gives the other end: in line mode, without echo."""
    ours, theirs = pty.openpty()
    modes = termios.tcgetattr(theirs)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    messages = [{"text": "".join(map(chr, range(1, 500))) * 8, "n": n} for n in range(20)]

    def say() -> None:
        for message in messages:
            Speaker(ours).say(message)
        os.write(ours, b"\x04")

    speaker = threading.Thread(target=say)
    speaker.start()
    with os.fdopen(theirs, "rb") as file:
        assert list(read_messages(file)) == messages
    speaker.join()
    os.close(ours)


@pytest.mark.parametrize(
    "said",
    [b"@={\n", b"@=3\n", b"@=[]\n", b'@={"a": NaN}\n', b"@+" + b"[" * LINE + b"\n@=x\n"],
)
def test_what_is_no_message_is_an_error(said: bytes) -> None:
    with pytest.raises(ValueError):
        list(read_messages(io.BytesIO(said)))


def test_no_message_is_above_a_megabyte() -> None:
    endless = (b"@+" + b" " * LINE + b"\n") * (MAX_MESSAGE // LINE + 2)
    with pytest.raises(ValueError, match="more than a message"):
        list(read_messages(io.BytesIO(endless)))
