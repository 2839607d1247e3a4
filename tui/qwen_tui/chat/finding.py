"""Finding text in a conversation: in questions, reasoning and answers, in any case. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from qwen_tui.conversation.turns import Turn
from qwen_tui.text.block_layout import finder
from qwen_tui.text.safe import visible

FoundIn = Literal["question", "reasoning", "answer"]


@dataclass(frozen=True)
class Match:
    """One place: in which part of which turn, and how many matches come before it there."""

    turn: Turn
    place: int
    """The turn's place among the turns."""
    part: FoundIn
    number: int

    def same(self, other: "Match") -> bool:
        """Whether it is the same place; turns are told apart by identity."""
        return self.turn is other.turn and (self.part, self.number) == (other.part, other.number)


def find_matches(turns: Iterable[Turn], needle: str) -> list[Match]:
    """Every place that reads like `needle`, in the order of the screen."""
    find = finder(visible(needle))
    if find is None:
        return []
    matches: list[Match] = []
    for place, turn in enumerate(turns):
        parts: tuple[tuple[FoundIn, str], ...] = (
            ("question", turn.shown or turn.question),
            ("reasoning", turn.reasoning),
            ("answer", turn.answer),
        )
        for part, text in parts:
            count = len(find.findall(visible(text))) if text else 0
            matches.extend(Match(turn, place, part, number) for number in range(count))
    return matches


def nearest(matches: list[Match], before: Match | None, place: int) -> int:
    """Where to begin among new matches, -1 without any.

    Where the last search was, if that still matches; else at the first turn in view or after it, of which `place` is
    the place; else at the end.
    """
    same = [index for index, match in enumerate(matches) if before is not None and match.same(before)]
    later = [index for index, match in enumerate(matches) if match.place >= place]
    return (same or later or [len(matches) - 1])[0]
