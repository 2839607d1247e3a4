"""Two models' words on one answer, put together: both texts, which tokens differ, what is said of one. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

from textual.content import Content

from qwen_core.protocol.comparison import Compared
from qwen_core.protocol.events import ModelSummary
from qwen_core.protocol.scoring import Spelling
from qwen_tui.lens.token_lines import probability
from qwen_tui.text.safe import one_line
from qwen_tui.text.token_text import shown_token

SAME, DIFFERENT = 0, 4
"""Levels of the shades, of tokens that both have and of those that only one has."""
_MOST_PAIRS = 4_000_000  # of tokens, which take a second to be matched
_NAME = 20


@dataclass(frozen=True)
class Pair:
    """What the screen shows of a comparison. `own`: B's column is its own answer, else what it says at each of A's
    tokens.
    """

    found: Compared
    own: bool = True

    @property
    def a_ids(self) -> tuple[int, ...]:
        return self.found.comparison.ids

    @cached_property
    def b_ids(self) -> tuple[int, ...]:
        return self.found.b_ids if self.own else tuple(step.top[0][0] for step in self.found.comparison.b)

    @cached_property
    def parted(self) -> list[int]:
        """The places in A's answer at which the likeliest tokens differ."""
        return self.found.comparison.parted

    @cached_property
    def _matched(self) -> list[tuple[int, int]]:
        return matching(self.a_ids, self.b_ids) if self.own else [(n, n) for n in range(len(self.a_ids))]

    @cached_property
    def places(self) -> dict[int, int]:
        """Where in B's column each token of A's stands, or what B has in its place."""
        found, behind, known = dict[int, int](), 0, dict(self._matched)
        for n in range(len(self.a_ids)):
            found[n] = known.get(n, behind)
            behind = found[n] + (n in known)
        return {n: min(place, len(self.b_ids) - 1) for n, place in found.items()}

    def levels(self) -> tuple[list[int], list[int]]:
        """A level for each token of A's column, and of B's."""
        parted = set(self.parted)
        a = [DIFFERENT if n in parted else SAME for n in range(len(self.a_ids))]
        if not self.own:
            return a, a
        of_a = {other: one for one, other in self._matched}
        # One that both have is marked where A has others before it that B lacks.
        alike = {other for other, one in of_a.items() if of_a.get(other - 1, one - 1) == one - 1}
        return a, [SAME if n in alike else DIFFERENT for n in range(len(self.b_ids))]

    @cached_property
    def _spelled(self) -> dict[int, Spelling]:
        return {spelling.id: spelling for spelling in self.found.spelled}

    def spellings(self, ids: Sequence[int]) -> list[Spelling]:
        return [self._spelled.get(token) or Spelling(token, b"") for token in ids]

    def shown(self, token: int) -> str:
        return shown_token(self.spellings([token])[0], _NAME)

    def facts(self, place: int) -> list[str]:
        """Of the token of A's answer at `place`."""
        comparison = self.found.comparison
        token, a, b = self.a_ids[place], comparison.a[place], comparison.b[place]
        (own, own_chance), (likeliest, chance) = a.top[0], b.top[0]
        surer = f", likeliest {self.shown(own)} {probability(own_chance)}" if own != token else ""
        return [
            f"{place + 1:,} of {len(self.a_ids):,}",
            f"A {self.shown(token)} {probability(a.logprob)}{surer}",
            f"B would say {self.shown(likeliest)} {probability(chance)}",
            f"A's in B {probability(b.logprob)}",
            f"KL {comparison.divergences[place]:.4f} nats",
        ]

    def verdict(self) -> str:
        """Where the two part."""
        parted = self.parted
        first = f", first at {parted[0] + 1:,}" if parted else ""
        return f"{len(parted):,} of {len(self.a_ids):,} tokens differ{first}"

    def figures(self) -> list[str]:
        """Of all steps."""
        comparison = self.found.comparison
        return [f"KL mean {comparison.mean:.4f} nats", f"99 % of the steps below {comparison.percentile(0.99):.4f}"]

    def headings(self) -> tuple[str, str]:
        """What stands above the columns."""
        a, b = self.found.a, self.found.b
        says = "B answers" if self.own else "B would say"
        return _heading("A answers", a), _heading(says, b)


def _heading(says: str, model: ModelSummary) -> str:
    return " · ".join((says, one_line(model.name, 60), model.variant))


def heading(text: str, width: int) -> Content:
    return Content.styled(text, "$primary").truncate(max(0, width), ellipsis=True)


def matching(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of places whose tokens are the same, in order; of two long texts those alone with which both begin."""
    begin = next((n for n, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    pairs = [(n, n) for n in range(begin)]
    if (len(a) - begin) * (len(b) - begin) <= _MOST_PAIRS:
        blocks = SequenceMatcher(None, a[begin:], b[begin:], autojunk=False).get_matching_blocks()
        pairs += [(begin + i + n, begin + j + n) for i, j, size in blocks for n in range(size)]
    return pairs
