"""Drafts without weights: what followed the last time that the sequence ended like this. Pure.

Good where an answer repeats its prompt or itself; on fresh prose there is seldom anything to find.
"""

from array import array
from collections.abc import Sequence

LEAST_MATCH = 2
"""Tokens of the suffix that must have occurred before."""
LONGEST_MATCH = 64
"""A longer match says no more, and in text that repeats itself every place would have one."""
MOST_PLACES = 4096
"""Earlier places with the same last two tokens that are compared, the latest first: bounds the time of one question."""


class LookupIndex:
    """Which pairs of tokens ended where: one entry a token, which points to the one before it with the same pair."""

    def __init__(self) -> None:
        self._ids = array("l")
        # For each token, the place after the previous occurrence of the pair that ends with it; 0: there is none.
        self._previous = array("l")
        self._latest: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def follow(self, ids: Sequence[int]) -> None:
        """Hold exactly `ids`; costs what is new of them, and what is no longer there."""
        same = min(len(ids), len(self._ids))
        if self._ids[:same].tolist() != list(ids[:same]):
            same = next(n for n in range(same) if self._ids[n] != ids[n])
        while len(self._ids) > same:
            self.drop()
        for token in ids[same:]:
            self.append(token)

    def append(self, token: int) -> None:
        """One token more."""
        self._ids.append(token)
        end = len(self._ids)
        pair = (self._ids[end - 2], token) if end > 1 else None
        self._previous.append(self._latest.get(pair, 0) if pair else 0)
        if pair:
            self._latest[pair] = end

    def drop(self) -> None:
        """One token less."""
        end = len(self._ids)
        before = self._previous.pop()
        if end > 1:
            pair = (self._ids[-2], self._ids[-1])
            if before:
                self._latest[pair] = before
            else:
                del self._latest[pair]
        self._ids.pop()

    def match(self) -> tuple[int, int]:
        """(place, length): the longest suffix of the ids that occurred before ended before `place`, the latest of
        equals; (0, 0) where not even the last two tokens did. Occurrences may overlap the suffix.
        """
        end = len(self._ids)
        best, length = 0, 0
        place = self._previous[-1] if end else 0
        for _ in range(MOST_PLACES):
            if not place or length >= LONGEST_MATCH:
                break
            # Only a place that agrees one token further than the best so far can be better.
            if length == 0 or (place > length and self._ids[place - 1 - length] == self._ids[end - 1 - length]):
                common = self._common(place, end)
                if common > length:
                    best, length = place, common
            place = self._previous[place - 1]
        return (best, length) if length >= LEAST_MATCH else (0, 0)

    def _common(self, place: int, end: int) -> int:
        """How many tokens before `place` are those before `end`."""
        ids = self._ids
        most = min(place, LONGEST_MATCH)
        return next((n for n in range(most) if ids[place - 1 - n] != ids[end - 1 - n]), most)

    def after(self, place: int, count: int) -> list[int]:
        """Up to `count` tokens that followed `place`; past the end of the ids what was found goes on repeating."""
        known = self._ids[place : place + count].tolist()
        while known and len(known) < count:
            known.append(known[len(known) - (len(self._ids) - place)])
        return known
