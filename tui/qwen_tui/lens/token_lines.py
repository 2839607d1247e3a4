"""What the lens says of one token, and of what else the model might have said there. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from qwen_core.figures import percent
from qwen_core.protocol.timeline import Moment
from qwen_tui.lens.reading import Reading
from qwen_tui.text.formatting import bar
from qwen_tui.text.safe import cells
from qwen_tui.text.token_text import shown_token
from qwen_tui.widgets.cursor_list import MARK, selected

TAKEN = "●"
"""Stands before the alternative that was taken."""
_NAME = 18  # cells of a token's text, at most
_SEPARATOR = " · "


@dataclass(frozen=True)
class Alternative:
    """What the model might have said, or said."""

    token: int
    logprob: float
    rank: int
    taken: bool = False


def alternatives(reading: Reading, place: int) -> list[Alternative]:
    """The likeliest tokens at `place`; the one that was taken among them, or behind them."""
    step, taken = reading.step(place), reading.ids[place]
    if step is None:
        return []
    found = [Alternative(token, value, rank, token == taken) for rank, (token, value) in enumerate(step.top, 1)]
    if not any(each.taken for each in found):
        found.append(Alternative(taken, step.logprob, step.rank, taken=True))
    return found


def probability(logprob: float) -> str:
    return percent(math.exp(min(0.0, logprob)))


def milliseconds(moment: Moment) -> str:
    return f"{1000 * moment.seconds:.1f} ms" if moment.seconds < 0.1 else f"{1000 * moment.seconds:,.0f} ms"


def token_facts(reading: Reading, place: int) -> list[str]:
    """Number, id, text, probability, rank, entropy, time and where the token is from, as far as they are known."""
    spelling, step = reading.spelling(reading.ids[place]), reading.step(place)
    kind = "control token " if spelling.control else ""
    facts = [f"{place + 1:,} of {len(reading.ids):,}", f"{kind}{shown_token(spelling)}", f"id {spelling.id}"]
    if step is not None:
        facts += [probability(step.logprob), f"rank {step.rank:,}", f"entropy {step.entropy:.2f} nats"]
        if step.drawn_logprob is not None:
            facts.append(f"drawn at {probability(step.drawn_logprob)}")
    else:
        facts.append("no probability is kept")
    moment = reading.came()[place]
    if moment is not None:
        facts.append(_came(moment))
    return facts


def _came(moment: Moment) -> str:
    if moment.kind == "draft":
        return "with the pass before, from a draft"
    return milliseconds(moment) if moment.seconds > 0 else "without a pass of its own"


def rows_of(facts: Sequence[str], width: int, most: int) -> list[Content]:
    """The facts in as few rows as they fit in, at most so many; what does not fit is left out."""
    rows: list[str] = []
    for fact in facts:
        joined = f"{rows[-1]}{_SEPARATOR}{fact}" if rows else fact
        if rows and cells(joined) > width:
            if len(rows) == most:
                break
            rows.append(fact)
        else:
            rows[-1:] = [joined]
    return [Content(row).truncate(width, ellipsis=True) for row in rows]


def alternative_line(reading: Reading, each: Alternative, column: int, width: int, *, cursor: bool) -> Content:
    """One alternative as a bar: its text in `column` cells, how likely it was."""
    spelling = reading.spelling(each.token)
    name = Content(shown_token(spelling, column)).truncate(column, ellipsis=True, pad=True)
    head = Content.assemble(MARK if cursor else " ", TAKEN if each.taken else " ", " ", name)
    drawn = bar(math.exp(min(0.0, each.logprob)), 1.0, max(0, width - column - 4 - 8)).replace("·", " ")
    share = Content(f"{probability(each.logprob):>8}")
    if cursor:  # its bar is read as the others are, so it is not reversed
        head, share = selected(head, head.cell_length), selected(share, share.cell_length)
    return Content.assemble(head, " ", (drawn, "$primary"), share).truncate(width)


def alternative_lines(reading: Reading, found: Sequence[Alternative], at: int, width: int, rows: int) -> list[Content]:
    """As many of the alternatives as there are rows for, the one under the cursor among them."""
    names = [cells(shown_token(reading.spelling(each.token), _NAME)) for each in found]
    column = max(1, min(_NAME, max(names, default=1), width // 3))
    first = max(0, min(at - rows + 1, len(found) - rows)) if at >= rows else 0
    return [
        alternative_line(reading, each, column, width, cursor=number == at)
        for number, each in enumerate(found[first : first + rows], first)
    ]
