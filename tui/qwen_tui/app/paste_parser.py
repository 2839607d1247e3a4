"""The toolkit's parser of what a terminal sends, for pastes that hold escape sequences.

The toolkit (textual 8.2) reads a sequence inside a paste as keys: a coloured log arrives garbled, and what follows in
it may press Enter. Here everything up to the mark of a paste's end is the paste, without its control characters.
test_paste_parser.py fails when the toolkit does that by itself: then this file can go.
"""

import re
from collections.abc import Iterable, Iterator

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.message import Message

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tabs and line ends


class PasteParser(XTermParser):
    """An `XTermParser` that meets no escape in a paste but the one of its end."""

    def __init__(self, debug: bool = False) -> None:
        self._in_paste = False
        self._begun = ""  # of a mark: what the text so far ends with
        super().__init__(debug)

    def feed(self, data: str) -> Iterable[Message]:
        for part in self._parts(data) if data else [data]:
            yield from super().feed(part)

    def _parts(self, data: str) -> Iterator[str]:
        """`data` as the toolkit can read it. Marks may come in pieces; that of an end goes on as a whole."""
        if not self._in_paste and self._timeout_time is None:
            self._begun = ""  # what was begun has become keys meanwhile
        while data:
            if self._in_paste:
                text, end, data = (self._begun + data).partition(BRACKETED_PASTE_END)
                self._in_paste = not end
                self._begun = "" if end else _beginning(BRACKETED_PASTE_END, text)
                part = _CONTROL.sub("", text.removesuffix(self._begun)) + end
            else:
                before, begin, rest = (self._begun + data).partition(BRACKETED_PASTE_START)
                part, data = data[: len(data) - len(rest)], rest
                self._in_paste = bool(begin)
                self._begun = "" if begin else _beginning(BRACKETED_PASTE_START, before)
            if part:  # nothing means the end of the input
                yield part


def _beginning(mark: str, text: str) -> str:
    """The beginning of `mark` that `text` ends with."""
    return next((mark[:size] for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), "")
