"""Long pastes in the composer: shown as a short token, sent in full. Pure."""

import re
from collections.abc import Mapping
from itertools import chain

_TOKEN = re.compile(r"\[paste ([1-9][0-9]{0,5}): [0-9,]+ (?:lines|characters)\]")
CHARACTERS_A_LINE = 100
"""A paste of few but very long lines is long, too."""


class Pastes:
    """The pastes of one draft by number. A token stands for its text as long as it is whole."""

    def __init__(self, kept: Mapping[int, str] | None = None) -> None:
        """`kept` are those of a draft that comes back."""
        self._texts = dict(kept or {})

    def collapse(self, text: str, limit: int, beside: str = "") -> str:
        """What to insert for a paste: itself, or a token where it has more than `limit` lines.

        `beside` is the text that it is inserted into. What only looks like a token, in there or in the paste, never
        becomes one: numbers that are spelled there are not given out, and a paste that spells a token is collapsed.
        """
        lines = text.count("\n") + 1
        if lines <= limit and len(text) <= limit * CHARACTERS_A_LINE and self.expand(text) == text:
            return text
        taken = {int(match[1]) for match in _TOKEN.finditer(beside)} | self._texts.keys()
        free = chain(range(max(self._texts, default=0) + 1, 1_000_000), range(1, 1_000_000))
        number = next(number for number in free if number not in taken)
        self._texts[number] = text
        return _token(number, text)

    def expand(self, text: str) -> str:
        """`text` with every token of a paste replaced by what was pasted; what looks like one in there stays."""
        return _TOKEN.sub(self._text, text)

    def kept(self, text: str) -> dict[int, str]:
        """The pastes whose tokens stand in `text`: what a draft must keep."""
        numbers = {int(match[1]) for match in _TOKEN.finditer(text) if self._stands(match)}
        return {number: self._texts[number] for number in sorted(numbers)}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the tokens of `text` begin and end."""
        return [match.span() for match in _TOKEN.finditer(text) if self._stands(match)] if self._texts else []

    def keep(self, kept: Mapping[int, str]) -> None:
        """Another draft is written: these are its pastes."""
        self._texts = dict(kept)

    def clear(self) -> None:
        """The draft was sent or thrown away."""
        self._texts.clear()

    def _stands(self, match: re.Match[str]) -> bool:
        # Only the very token that was inserted: a changed one is the person's own text.
        text = self._texts.get(int(match[1]))
        return text is not None and _token(int(match[1]), text) == match[0]

    def _text(self, match: re.Match[str]) -> str:
        return self._texts[int(match[1])] if self._stands(match) else match[0]


def _token(number: int, text: str) -> str:
    lines = text.count("\n") + 1
    return f"[paste {number}: {f'{lines:,} lines' if lines > 1 else f'{len(text):,} characters'}]"
