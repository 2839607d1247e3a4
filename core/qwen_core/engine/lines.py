"""What rank 0 and the processes that follow it say to each other beside the data: JSON objects, as lines of text.

A line goes through ssh's terminal on the other machine, which loses all of a line beyond some thousand characters,
takes control characters for keys and turns line ends into two. So a long object is several lines, all of them are
plain ASCII, and what others write in between, a greeting of the shell for one, is told apart.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from qwen_core.files import json_text, strict_json

LINE = 900
MAX_MESSAGE = 1 << 20
_MORE, _LAST = "@+", "@="


def as_lines(message: Mapping[str, Any]) -> bytes:
    """`message` as one or more whole lines."""
    text = json_text(dict(message), ascii_only=True)
    pieces = [text[begin : begin + LINE] for begin in range(0, len(text), LINE)]
    ends = [_MORE] * (len(pieces) - 1) + [_LAST]
    return "".join(f"{end}{piece}\n" for end, piece in zip(ends, pieces, strict=True)).encode("ascii")


class Speaker:
    """Writes messages to a descriptor, whole, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def say(self, message: Mapping[str, Any]) -> None:
        """Write `message`. Raises OSError where nobody reads any more."""
        left = as_lines(message)
        with self._lock:
            while left:
                left = left[os.write(self._descriptor, left) :]


def read_messages(file: BinaryIO, other: Callable[[str], None] = lambda _: None) -> Iterator[dict[str, Any]]:
    """The messages that arrive on `file`, until it ends; `other` is handed lines that are part of none.

    Raises ValueError for a message that is no JSON object or above a MB, OSError.
    """
    pieces: list[str] = []
    while line := file.readline(4 * LINE):
        text = line.decode("ascii", "replace").rstrip("\r\n")
        mark, piece = text[:2], text[2:]
        if mark not in (_MORE, _LAST):
            other(text)
            continue
        pieces.append(piece)
        if sum(map(len, pieces)) > MAX_MESSAGE:
            raise ValueError("it said more than a message can be")
        if mark == _LAST:
            message = strict_json("".join(pieces))
            pieces.clear()
            if not isinstance(message, dict):
                raise ValueError("it said something that is no message")
            yield message
