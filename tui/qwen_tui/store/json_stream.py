"""A JSON document that comes in pieces, read one value at a time: what is held is the value that is being read.

Each value is cut out of the text by its brackets and then parsed by `strict_json`, so that nothing is taken here that
would not be taken elsewhere. (ijson was tried: it makes "?" of a lone surrogate, takes a key twice, ends in a
SystemError at 5,000 digits, and is several times slower for lists of numbers.)
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from qwen_core.files import strict_json

_SPACE = re.compile(r"[ \t\n\r]*")
_MARK = re.compile(r'["\[\]{}]')
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,:\[\]{}]+")
_ALONE = ("{", "[", '"')  # a value that begins so ends by itself


class JsonStream:
    """The methods are called in the order of the document, and raise ValueError for what is not JSON there."""

    def __init__(self, pieces: Iterable[str], most_characters: int, most_values: int) -> None:
        """The limits are those of one value."""
        self._pieces = iter(pieces)
        self._most_characters = most_characters
        self._most_values = most_values
        self._text = ""
        self._at = 0

    def members(self) -> Iterator[str]:
        """The keys of the object that comes now; its value is to be read before the next one is asked for."""
        seen: set[str] = set()
        for _ in self._inside("{", "}"):
            if self._next() != '"':
                raise ValueError("a key of an object must be a text")
            key = self.value()
            if key in seen:
                raise ValueError(f"key {key!r} occurs twice")
            seen.add(key)
            self._take(":")
            yield key

    def items(self) -> Iterator[Any]:
        """What is in the array that comes now."""
        for _ in self._inside("[", "]"):
            yield self.value()

    def begins_with(self, mark: str) -> bool:
        """Whether the value that comes now does."""
        return self._next() == mark

    def value(self) -> Any:
        """The value that comes now, whatever it is."""
        end = self._end_of_value()
        self._limit(end)
        text, self._at = self._text[self._at : end], end
        if end > len(self._text) // 2:  # what is read goes, but not at each small value, as that copies the rest
            self._text, self._at = self._text[end:], 0
        return strict_json(text, self._most_values)

    def end(self) -> None:
        if self._next():
            raise ValueError("there is more behind its end")

    def _inside(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self._next() == closing:
            self._take(closing)
            return
        while True:
            yield
            if self._take(",", closing) == closing:
                return

    def _take(self, *marks: str) -> str:
        mark = self._next()
        if mark not in marks:
            raise ValueError(f"{' or '.join(marks)} is missing where {repr(mark) if mark else 'it ends'}")
        self._at += 1
        return mark

    def _next(self) -> str:
        """The next character that is no space, which stays; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space is not None else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _end_of_value(self) -> int:
        """Where the value that comes now ends in the text, of which as much is fetched as that takes."""
        if self._next() not in _ALONE:
            while (found := _SCALAR.match(self._text, self._at)) is not None and found.end() == len(self._text):
                if not self._more():
                    break
            if found is None:
                raise ValueError(f"a value is missing where {repr(self._next()) if self._next() else 'it ends'}")
            return found.end()
        depth, place = 0, 0  # counted from the value's beginning, which moves in the text
        while True:
            found = _MARK.search(self._text, self._at + place)
            if found is None:
                place = len(self._text) - self._at
            elif found[0] != '"':
                depth += 1 if found[0] in "[{" else -1
                place = found.end() - self._at
            else:
                place = found.start() - self._at
                found = _STRING.match(self._text, found.start())
                place = place if found is None else found.end() - self._at
            if found is not None and depth == 0:
                return self._at + place
            if found is None and not self._more():
                raise ValueError("it ends in the middle of a value")

    def _more(self) -> bool:
        """Fetch as much again as is held, so that a long value is not copied for each piece; whether there was any."""
        self._limit(len(self._text))
        self._text, self._at = self._text[self._at :], 0
        pieces, wanted = [self._text], max(1, len(self._text))
        for piece in self._pieces:
            pieces.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        self._text = "".join(pieces)
        return len(pieces) > 1

    def _limit(self, end: int) -> None:
        if end - self._at > self._most_characters:
            raise ValueError(f"a value of it is longer than {self._most_characters:,} characters")
