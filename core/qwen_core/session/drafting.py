"""Who drafts, how many tokens, and how the drafts fared. What is drafted changes the speed and nothing else: decoding
draws every token from the model's own logits (generate.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from qwen_core.device.backend import mx
from qwen_core.model.mtp import MtpLayer
from qwen_core.model.state import State
from qwen_core.protocol.stats import DraftStats
from qwen_core.session.draft_count import MOST_DRAFTS
from qwen_core.session.lookup import LookupIndex

WAITING_TOKENS = 32
"""Tokens fed without drafts after which the MTP layer takes them, so that no long list of vectors is kept."""
LONG_MATCH = 8
"""A match of so many tokens is better than what an MTP layer drafts."""


@dataclass
class DraftCounts:
    """What became of drafts: `passes` of the model, and by depth how many tokens were drafted and how many accepted."""

    passes: int = 0
    drafted_by_depth: list[int] = field(default_factory=lambda: [0] * MOST_DRAFTS)
    accepted_by_depth: list[int] = field(default_factory=lambda: [0] * MOST_DRAFTS)
    pass_tokens: int = 1
    """Tokens of the last pass."""

    def add(self, drafted: int, accepted: int) -> None:
        """One pass more."""
        self.passes += 1
        self.pass_tokens = accepted + 1
        for depth in range(drafted):
            self.drafted_by_depth[depth] += 1
            self.accepted_by_depth[depth] += depth < accepted

    def joined(self, other: "DraftCounts") -> "DraftCounts":
        """Both together."""
        drafted = [a + b for a, b in zip(self.drafted_by_depth, other.drafted_by_depth, strict=True)]
        accepted = [a + b for a, b in zip(self.accepted_by_depth, other.accepted_by_depth, strict=True)]
        return DraftCounts(self.passes + other.passes, drafted, accepted)


class Drafter(Protocol):
    """Proposes tokens. It is told of every token that is fed, in order, and of nothing else."""

    wants_hidden: bool

    @property
    def bytes_read(self) -> int:
        """Of weights, for all drafts so far."""
        ...

    def begin(self, ids: Sequence[int]) -> None:
        """The state holds `ids`."""
        ...

    def fed(self, ids: Sequence[int], hidden: mx.array | None) -> None:
        """`ids` were fed; `hidden` [1, T, H] are the vectors behind them where the drafter wants them."""
        ...

    def draft(self, token: mx.array, count: int) -> list[mx.array]:
        """Up to `count` tokens [1] that may follow `token` [1], which was drawn and is not fed yet."""
        ...


class MtpDrafter:
    """The layer that the model was trained with."""

    wants_hidden = True

    def __init__(self, layer: MtpLayer, state: State, vocab_limit: int, bytes_per_draft: int = 0) -> None:
        """`bytes_per_draft`: those of the layer and of the head, which each draft reads."""
        self.bytes_read = 0
        self._layer = layer
        self._state = state
        self._limit = vocab_limit
        self._bytes_per_draft = bytes_per_draft

    def begin(self, ids: Sequence[int]) -> None:
        pass

    def fed(self, ids: Sequence[int], hidden: mx.array | None) -> None:
        assert hidden is not None
        mtp = self._state.mtp
        mtp.take(mx.array([list(ids)], mx.uint32), hidden)
        if len(ids) > 1 or len(mtp.waiting) >= WAITING_TOKENS:
            self._layer.catch_up(mtp)
            mx.async_eval(self._state.arrays())

    def draft(self, token: mx.array, count: int) -> list[mx.array]:
        if self._state.mtp.hidden is None:
            return []
        logits = self._layer.draft_logits(token, count, self._limit, self._state.mtp)
        self.bytes_read += count * self._bytes_per_draft
        return [mx.argmax(row, axis=-1).astype(mx.uint32) for row in logits]


class LookupDrafter:
    """What followed the last time that the sequence ended like this."""

    wants_hidden = False
    bytes_read = 0

    def __init__(self, index: LookupIndex, least_match: int = 2, *, waits: bool = True) -> None:
        """`waits`: the token just drawn is always looked at. It is not known yet where a step is scheduled ahead, so
        that on a GPU it counts only behind two tokens that match already."""
        self._index = index
        self._least = least_match
        self._waits = waits

    def begin(self, ids: Sequence[int]) -> None:
        self._index.follow(ids)

    def fed(self, ids: Sequence[int], hidden: mx.array | None) -> None:
        for token in ids:
            self._index.append(token)

    def draft(self, token: mx.array, count: int) -> list[mx.array]:
        # Without a match before `token` it is left to be read later: reading it now would keep the device waiting.
        if not self._waits:
            place, length = self._index.match()
            if length < max(self._least - 1, 2) or place >= len(self._index):
                return []
        self._index.append(cast(int, token.item()))
        place, length = self._index.match()
        drafts = self._index.after(place, count) if length >= self._least else []
        self._index.drop()
        return [mx.array([draft], mx.uint32) for draft in drafts]


class LongestFirst:
    """Lookup where a long match is at hand, else the MTP layer: both in one turn."""

    wants_hidden = True

    def __init__(self, mtp: MtpDrafter, lookup: LookupDrafter) -> None:
        self._mtp = mtp
        self._lookup = lookup

    @property
    def bytes_read(self) -> int:
        return self._mtp.bytes_read

    def begin(self, ids: Sequence[int]) -> None:
        self._lookup.begin(ids)

    def fed(self, ids: Sequence[int], hidden: mx.array | None) -> None:
        self._lookup.fed(ids, hidden)
        self._mtp.fed(ids, hidden)

    def draft(self, token: mx.array, count: int) -> list[mx.array]:
        return self._lookup.draft(token, count) or self._mtp.draft(token, count)


class Drafting:
    """A drafter at work in one turn: asks it for as many drafts as pay, and counts how they fare."""

    def __init__(self, kind: str, drafter: Drafter, count: Callable[[DraftCounts], int]) -> None:
        """`kind` names the drafter; `count` says, from what was counted so far, how many drafts a pass should have."""
        self.kind = kind
        self.drafter = drafter
        self.wants_hidden = drafter.wants_hidden
        self.counts = DraftCounts()
        self.last_was_draft = False
        """Whether the token that was fed last had been drafted."""
        self._count = count

    def draft(self, token: mx.array, most: int) -> list[mx.array]:
        """Drafts for the next pass, at most `most`."""
        count = min(self._count(self.counts), most, MOST_DRAFTS)
        return self.drafter.draft(token, count) if count > 0 else []

    def fed(self, ids: Sequence[int], hidden: mx.array | None, *, drafted: bool = False) -> None:
        """`ids` were fed, as `Drafter.fed` takes them; `drafted`: they are drafts that were accepted."""
        self.last_was_draft = drafted
        self.drafter.fed(ids, hidden)

    def passed(self, ids: Sequence[int], hidden: mx.array | None) -> None:
        """A pass without drafts fed `ids`."""
        self.counts.add(0, 0)
        self.fed(ids, hidden)

    def stats(self) -> DraftStats:
        """The figures by now."""
        counts = self.counts
        depths = sum(drafted > 0 for drafted in counts.drafted_by_depth)
        return DraftStats(
            kind=self.kind,
            num_draft_tokens=depths,
            passes=counts.passes,
            drafted=sum(counts.drafted_by_depth),
            accepted=sum(counts.accepted_by_depth),
            accepted_by_depth=tuple(counts.accepted_by_depth[:depths]),
        )
