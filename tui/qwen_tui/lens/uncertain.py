"""Where the model was least sure: the steps of highest entropy, as lines, and the way from one to the next. Pure."""

from collections.abc import Sequence

from textual.content import Content

from qwen_tui.lens.reading import Reading
from qwen_tui.lens.token_lines import probability
from qwen_tui.text.safe import cells
from qwen_tui.text.token_text import shown_token
from qwen_tui.widgets.cursor_list import MARK, selected

LEAST, MOST = 5, 40
"""Places that are listed, of an answer of any length."""
_SHARE = 10  # one of so many tokens is
_BEFORE = 8  # tokens that stand before one
_SEEN = 0.005
"""Nats from which on an entropy is not written as 0.00."""


def uncertain_places(reading: Reading) -> list[int]:
    """The steps of highest entropy, the highest first; one at which hardly anything else could be said is none."""
    found = reading.most_uncertain(max(LEAST, min(MOST, len(reading.ids) // _SHARE)))
    return [place for place in found if (step := reading.step(place)) is not None and step.entropy >= _SEEN]


def next_place(places: Sequence[int], here: int, step: int) -> int | None:
    """The place after `here` in the text, or before it where `step` is negative; round the ends. None without any."""
    ordered = sorted(places)
    if not ordered:
        return None
    if step > 0:
        return next((place for place in ordered if place > here), ordered[0])
    return next((place for place in reversed(ordered) if place < here), ordered[-1])


def place_line(reading: Reading, place: int, width: int, *, cursor: bool) -> Content:
    """ "12  2.31 nats  ␣capital␣is│␣Berlin  31 %, else ␣Paris 22 %"."""
    step = reading.step(place)
    assert step is not None
    token = shown_token(reading.spelling(reading.ids[place]), 16)
    others = [each for each in step.top if each[0] != reading.ids[place]]
    other = f", else {shown_token(reading.spelling(others[0][0]), 16)} {probability(others[0][1])}" if others else ""
    head = f"{MARK if cursor else ' '} {place + 1:>5,} {step.entropy:>5.2f} nats  "
    tail = f"  {probability(step.logprob)}"
    if cells(head) + cells(token) + cells(tail) + cells(other) < width:
        tail += other
    room = max(0, width - cells(head) - cells(token) - cells(tail) - 1)
    before = _before(reading, place, min(24, room))
    line = Content.assemble(head, (f"{before}│", "$muted"), (token, "bold"), tail)
    return selected(line, width) if cursor else line.truncate(width, ellipsis=True)


def _before(reading: Reading, place: int, room: int) -> str:
    """The end of what stands before a token, in at most `room` cells."""
    written = "".join(shown_token(reading.spelling(token)) for token in reading.ids[max(0, place - _BEFORE) : place])
    while written and cells(written) > room:
        written = written[1:]
    return written
