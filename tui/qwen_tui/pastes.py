"""Long pastes in the composer: shown as a short token, sent in full. Pure."""

import re
from collections.abc import Mapping

_TOKEN = re.compile(r"\[paste ([1-9][0-9]{0,5}): [0-9,]+ (?:lines|characters)\]")
CHARACTERS_A_LINE = 100
"""A paste of few but very long lines is long, too."""


class Pastes:
    """The pastes of one draft by number. A token stands for its text as long as it is whole."""

    def __init__(self, kept: Mapping[int, str] | None = None) -> None:
        """`kept` are those of a draft that comes back."""
        self._texts = dict(kept or {})

    def collapse(self, text: str, limit: int) -> str:
        """What to insert for a paste: itself, or a token where it has more than `limit` lines."""
        lines = text.count("\n") + 1
        if lines <= limit and len(text) <= limit * CHARACTERS_A_LINE:
            return text
        number = max(self._texts, default=0) + 1
        self._texts[number] = text
        return _token(number, text)

    def expand(self, text: str) -> str:
        """`text` with every token of a paste replaced by what was pasted; what looks like one in there stays."""
        return _TOKEN.sub(self._text, text)

    def kept(self, text: str) -> dict[int, str]:
        """The pastes whose tokens stand in `text`: what a draft must keep."""
        numbers = {int(match[1]) for match in _TOKEN.finditer(text) if self._text(match) != match[0]}
        return {number: self._texts[number] for number in sorted(numbers)}

    def token_at(self, text: str, place: int) -> tuple[int, int] | None:
        """Where the token begins and ends that `place` is inside of or behind: one key deletes it whole."""
        for match in _TOKEN.finditer(text):
            if match.start() < place <= match.end() and self._text(match) != match[0]:
                return match.span()
        return None

    def clear(self) -> None:
        """The draft was sent or thrown away."""
        self._texts.clear()

    def _text(self, match: re.Match[str]) -> str:
        text = self._texts.get(int(match[1]))
        # Only the very token that was inserted: a changed one is the person's own text.
        return text if text is not None and _token(int(match[1]), text) == match[0] else match[0]


def _token(number: int, text: str) -> str:
    lines = text.count("\n") + 1
    return f"[paste {number}: {f'{lines:,} lines' if lines > 1 else f'{len(text):,} characters'}]"
