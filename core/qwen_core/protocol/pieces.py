"""The text of an answer in pieces, from the splitter to the screen: what each is part of, joined and taken apart."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Literal

Part = Literal["reasoning", "answer", "tool_call"]
Piece = tuple[Part, str]
"""Some text of an answer and what it is part of. An answer is pieces in order."""


def joined(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """The same text, neighbouring pieces of one part as one."""
    runs = groupby(pieces, key=itemgetter(0))
    return tuple((part, "".join(text for _, text in run)) for part, run in runs)


def text_of(pieces: Iterable[Piece], *parts: Part) -> str:
    """All text of `parts`, in order."""
    return "".join(text for part, text in pieces if part in parts)


def with_late_reasoning(pieces: Sequence[Piece], count: int) -> Sequence[Piece]:
    """`pieces` with the first `count` characters of the answer's text as reasoning, which then stands first."""
    if not count:
        return pieces
    thought = text_of(pieces, "answer")[:count].strip("\n")
    parts: list[Piece] = [("reasoning", "\n\n".join(filter(None, (text_of(pieces, "reasoning"), thought))))]
    for part, text in pieces:
        if part == "answer":
            text, count = text[count:], max(0, count - len(text))
        if text and part != "reasoning":
            parts.append((part, text))
    return parts
