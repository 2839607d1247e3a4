"""The guard against endless repetition: token ids of one answer in, a verdict out. Pure; memory and time bounded.

The rule. An answer repeats itself when its last n tokens are one block over and over: for some period p of at most
`max_period`, each of them equals the one p before it, and n is at least `least_copies` blocks and at least
`least_tokens` tokens. A copy with a single other token begins the count anew, so prose, code and tables whose rows
differ never set it off; a line of 255 equal tokens does not either. An endless loop of period p is noticed
within max(least_copies * p, least_tokens) tokens of its beginning.

A loop with something that changes, such as a counter, is not one for this rule.
"""

from collections import deque
from dataclasses import dataclass

MAX_PERIOD = 512
LEAST_COPIES = 4
LEAST_TOKENS = 256


@dataclass(frozen=True)
class Repetition:
    """What repeated: a block of `period` tokens, `tokens` of them in a row (`copies` whole blocks)."""

    period: int
    tokens: int

    @property
    def copies(self) -> int:
        return self.tokens // self.period

    def __str__(self) -> str:
        block = "one token" if self.period == 1 else f"{self.period} tokens"
        return f"the same {block} {self.copies} times in a row"


class RepetitionGuard:
    """Watches one answer. `push` every generated token; the prompt is none of its business.

    Remembers at most `max_period` tokens, and for each token how long each period has held: work per token is the
    number of times that this token occurs among them.
    """

    def __init__(
        self, max_period: int = MAX_PERIOD, least_copies: int = LEAST_COPIES, least_tokens: int = LEAST_TOKENS
    ) -> None:
        if max_period < 1 or least_copies < 2 or least_tokens < 1:
            raise ValueError("a repetition is two blocks of one token or more")
        self.max_period = max_period
        self.least_copies = least_copies
        self.least_tokens = least_tokens
        self._count = 0
        self._window: deque[int] = deque()
        self._places: dict[int, deque[int]] = {}  # of every token in the window: where it stands, oldest first
        self._held: dict[int, int] = {}  # period -> how many of the last tokens equal the one a period before

    def push(self, token: int) -> Repetition | None:
        """Take the next token; what repeats now, the shortest period first, or None."""
        places = self._places.setdefault(token, deque())
        # Only the periods that this token keeps going survive; the others are broken by it.
        self._held = {self._count - place: self._held.get(self._count - place, 0) + 1 for place in reversed(places)}
        places.append(self._count)
        self._window.append(token)
        self._count += 1
        if len(self._window) > self.max_period:
            self._forget(self._window.popleft())
        for period, held in self._held.items():
            if period + held >= max(self.least_copies * period, self.least_tokens):
                return Repetition(period, period + held)
        return None

    def _forget(self, token: int) -> None:
        places = self._places[token]
        places.popleft()
        if not places:
            del self._places[token]
