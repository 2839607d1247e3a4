"""What a setting may be: kinds of values that check what a file holds, read what is typed, and say what they take.

Every `check` returns the value as the program uses it, or raises ValueError; the words for people are `accepts`.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen_core.errors import SettingsError, quote

MAX_TEXT = 100_000
_YES, _NO = ("true", "on", "yes", "1"), ("false", "off", "no", "0")


class Kind(Protocol):
    """How values of one setting are checked."""

    @property
    def accepts(self) -> str: ...
    def check(self, value: Any) -> Any: ...
    def read(self, text: str) -> Any: ...


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`; `whole`: an integer; `above`: `low` itself is too low."""

    low: float
    high: float = math.inf
    whole: bool = False
    above: bool = False

    @property
    def accepts(self) -> str:
        low, high = (f"{end:,}" if self.whole else f"{end:g}" for end in (self.low, self.high))
        begin = f"a {'whole ' * self.whole}number {'above' if self.above else 'from'} {low}"
        return f"{begin} up" if self.high == math.inf else f"{begin} {'up ' * self.above}to {high}"

    def check(self, value: Any) -> float:
        # Compared before it becomes a float: TOML's whole numbers may be larger than any float.
        fits = isinstance(value, int if self.whole else int | float) and self.low <= value <= self.high
        if isinstance(value, bool) or not fits or abs(value) == math.inf or (self.above and value == self.low):
            raise ValueError(self.accepts)
        return value if self.whole else float(value)

    def read(self, text: str) -> float:
        return self.check(int(text) if self.whole else float(text))


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def accepts(self) -> str:
        return f"one of {', '.join(self.words)}"

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(self.accepts)
        return value

    def read(self, text: str) -> str:
        return self.check(text.strip().lower())


@dataclass(frozen=True)
class Switch:
    """On or off."""

    accepts: str = "true or false"

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(self.accepts)
        return value

    def read(self, text: str) -> bool:
        word = text.strip().lower()
        if word not in (*_YES, *_NO):
            raise ValueError(self.accepts)
        return word in _YES


@dataclass(frozen=True)
class Words:
    """Any text that UTF-8 can hold, at most `limit` characters; `pattern` for names."""

    limit: int = MAX_TEXT
    pattern: str = ""
    accepts: str = f"text of at most {MAX_TEXT:,} characters"

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > self.limit or re.search("[\0\ud800-\udfff]", value):
            raise ValueError(self.accepts)
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValueError(self.accepts)
        return value

    def read(self, text: str) -> str:
        return self.check(text)


def setting(kind: Kind, help: str, default: Any = None) -> Any:
    """A field of a section: what it takes, its line of help, and its value where nobody gives one (None: not set)."""
    return field(default=default, metadata={"kind": kind, "help": help})


def refused(value: Any, kind: Kind) -> str:
    """What is wrong with a value, in the words that are the same wherever it was given."""
    return f"{shown(value)} is not {kind.accepts}"


def shown(value: Any) -> str:
    """A value inside a message."""
    try:
        return quote(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits has no decimal text
        return f"a value of type {type(value).__name__}"


def checked(name: str, value: Any, kind: Kind) -> Any:
    """`value` as `kind` gives it. SettingsError, one line that begins with `name`, where it does not take it."""
    try:
        return kind.check(value)
    except ValueError:
        raise SettingsError(f"{name} = {refused(value, kind)}") from None
