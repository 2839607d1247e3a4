"""When the tokens of an answer came, packed: what the device did from the question to the last token, step by step.

A token that an accepted draft said came with the pass of the one before it, so it has no time of its own to speak of;
one that the answer was said to begin with has none at all.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

MomentKind = Literal["token", "draft", "prefill", "snapshot"]
KINDS: tuple[MomentKind, ...] = get_args(MomentKind)
_MOST_US = (1 << 30) - 1
_COUNTED = ("prefill", "snapshot")  # these have a second word: how many tokens


@dataclass(frozen=True)
class Moment:
    """One step. `seconds` since the one before it. `tokens`: 1, or how many a chunk of prefill read, or behind how many
    the state was kept as a snapshot."""

    kind: MomentKind
    seconds: float
    tokens: int = 1


@dataclass(frozen=True)
class Timeline:
    """`data`: a 32-bit little-endian word a step: microseconds (18 minutes at most) times 4, plus the place of its kind
    in `KINDS`; behind that of a chunk of prefill or a snapshot another one, the tokens.
    """

    data: bytes = b""

    def __add__(self, other: "Timeline") -> "Timeline":
        return Timeline(self.data + other.data)

    def moments(self) -> list[Moment]:
        """The steps in order. ValueError where the data are not what `packed` makes."""
        if len(self.data) % 4:
            raise ValueError("damaged times")
        words, found = iter(array("I", self.data)), list[Moment]()
        for word in words:
            kind = KINDS[word & 3]
            tokens = next(words, 0) if kind in _COUNTED else 1
            found.append(Moment(kind, (word >> 2) / 1e6, tokens))
        return found


def packed(moments: Iterable[Moment]) -> Timeline:
    """The steps as they travel and are kept."""
    words = array("I")
    for moment in moments:
        words.append(min(_MOST_US, max(0, round(moment.seconds * 1e6))) << 2 | KINDS.index(moment.kind))
        if moment.kind in _COUNTED:
            words.append(moment.tokens)
    return Timeline(words.tobytes())


def of_tokens(moments: Sequence[Moment]) -> list[Moment]:
    """The steps that brought a token, one for each."""
    return [moment for moment in moments if moment.kind in ("token", "draft")]


class Stopwatch:
    """Notes the steps of a turn; `now` comes from whoever measures."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._prefilled = 0
        self._noted: list[Moment] = []

    def note(
        self,
        now: float,
        *,
        tokens: int = 0,
        drafted: bool = False,
        given: bool = False,
        prefilled: int = 0,
        kept: int = 0,
    ) -> None:
        """At `now` a step ended: it brought `tokens`, or read the prompt up to `prefilled` tokens; before it the state
        was kept behind `kept` tokens. Tokens that are `given` take no time: it is that of the next step."""
        if kept:
            self._noted.append(Moment("snapshot", 0.0, kept))
        now = self._last if given else now
        spent, self._last = now - self._last, now
        if prefilled > self._prefilled:
            self._noted.append(Moment("prefill", spent, prefilled - self._prefilled))
            self._prefilled = prefilled
        for _ in range(tokens):
            self._noted.append(Moment("draft" if drafted else "token", spent))
            spent = 0.0

    def taken(self) -> Timeline:
        """What was noted since the last call."""
        noted, self._noted = self._noted, []
        return packed(noted)
