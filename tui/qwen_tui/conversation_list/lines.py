"""The list of conversations as text: rows in, lines out. Pure.

A row is a conversation (one line), a message that a search found (two), or a heading. Titles and snippets are
untrusted: they are made visible here.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from textual.content import Content

from qwen_tui.store import ConversationSummary, Hit
from qwen_tui.text.block_layout import finder
from qwen_tui.text.formatting import counted, fit
from qwen_tui.text.safe import one_line, visible
from qwen_tui.widgets.cursor_list import MARK, Heading, selected

HIT = "bold underline $accent"
Key = tuple[Literal["conversation", "message"], int]

MAX_SHOWN_TITLE = 300  # characters: more than any line has room for
MARGIN = 4  # the cursor's mark and the pin's, each with a blank after it
LEAST_TITLE = 20
_AGE, _TURNS = 9, 10
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MODEL_WIDTHS = (24, 18, 14)
_FOR_MODEL = 34  # cells that the title keeps when the model's name has a column


WIDEST_TITLE = 60  # cells: beyond, the columns would be far from what they are about
EDGE = 1  # a cell that stays empty at the right

Entry = ConversationSummary | Hit
Row = Entry | Heading


@dataclass(frozen=True)
class Look:
    """What the drawing of a row depends on, the row itself and the width aside."""

    now: float
    query: str = ""
    current: int | None = None
    title: int = 0
    """Cells that the titles take, so that the columns stand beside them; 0: all there are."""


def key_of(row: Entry) -> Key:
    """What a row is recognised by after the list was read again."""
    return ("message", row.message_id) if isinstance(row, Hit) else ("conversation", row.id)


def conversation_of(row: Entry) -> int:
    return row.conversation_id if isinstance(row, Hit) else row.id


def rows_of(
    titles: Sequence[ConversationSummary], hits: Sequence[Hit], *, searched: bool, more: bool, limit: int
) -> list[Row]:
    """The rows in order; of a search with a heading before each kind that was found."""
    if not searched:
        return [*titles]
    rows: list[Row] = []
    if titles:
        rows += [Heading(f"Titles ({len(titles):,}{'+' if more else ''})"), *titles]
    if hits:
        count = f"the best {limit}" if len(hits) >= limit else f"{len(hits)}"
        rows += [*([Heading("")] if rows else []), Heading(f"Messages ({count})"), *hits]
    return rows


def grouped(rows: Sequence[Row], now: float, *, blank: bool) -> list[Row]:
    """Conversations under when they were used last, pinned ones first; `blank`: with a line between the groups."""
    found: list[Row] = []
    last = ""
    for row in rows:
        if isinstance(row, ConversationSummary):
            name = "Pinned" if row.pinned else _period(now, row.updated_at)
            if name != last:
                found += [*([Heading("")] if found and blank else []), Heading(name)]
                last = name
        found.append(row)
    return found


def _period(now: float, then: float) -> str:
    try:
        today, day = time.localtime(now), time.localtime(then)
        midnight = now - 3600 * today.tm_hour - 60 * today.tm_min - today.tm_sec
    except (OverflowError, ValueError, OSError):
        return "Earlier"
    if then >= midnight:
        return "Today"
    if then >= midnight - 6 * 86_400:
        return "The last seven days"
    return "This year" if today.tm_year == day.tm_year else "Earlier"


def title_cells(rows: Iterable[Row]) -> int:
    """What the titles of `rows` take, with their states."""
    sizes = [cell_len(shown_title(row.title)) for row in rows if isinstance(row, ConversationSummary)]
    return min(WIDEST_TITLE, max(sizes, default=0) + len("  interrupted"))


def height_of(row: Row) -> int:
    return 2 if isinstance(row, Hit) else 1


# Times.


def age(now: float, then: float) -> str:
    """How long ago that was: "3 min", "2 h", "yesterday", "12 Nov", "Nov 2024". At most 9 characters."""
    minutes = int((now - then) // 60) if abs(now - then) < 1e12 else -1000
    if -2 <= minutes < 1:  # clocks of two machines differ a little
        return "now"
    if 0 < minutes < 60:
        return f"{minutes} min"
    try:
        today, day = time.localtime(now), time.localtime(then)
        yesterday = time.localtime(now - 3600 * (today.tm_hour + 12) - 60 * today.tm_min)  # its noon
    except (OverflowError, ValueError, OSError):
        return "?"
    if minutes > 0 and (minutes < 6 * 60 or today[:3] == day[:3]):
        return f"{minutes // 60} h"
    if yesterday[:3] == day[:3]:
        return "yesterday"
    month = _MONTHS[day.tm_mon - 1]
    return f"{day.tm_mday} {month}" if today.tm_year == day.tm_year else f"{month} {day.tm_year:04}"[:_AGE]


def moment(then: float) -> str:
    """A day and a time in full: "12 Nov 2025 14:03"."""
    try:
        day = time.localtime(then)
    except (OverflowError, ValueError, OSError):
        return "?"
    return f"{day.tm_mday} {_MONTHS[day.tm_mon - 1]} {day.tm_year} {day.tm_hour:02}:{day.tm_min:02}"


# Lines.


def shown_title(title: str) -> str:
    return one_line(title, MAX_SHOWN_TITLE) or "(without a title)"


def marked(text: str, query: str) -> Content:
    """`text` with every occurrence of `query` as a hit."""
    find = finder(query)
    return Content(text) if find is None else Content(text).highlight_regex(find, style=HIT)


def excerpt(snippet: Iterable[tuple[str, bool]], width: int) -> Content:
    """A found message's text around its first hit, in at most `width` cells; nothing below 4."""
    if width < 4:
        return Content("")
    pieces = [(re.sub(r"\s+", " ", visible(text)), found) for text, found in _shortened(snippet, 4 * width)]
    line = Content.assemble(*((text, HIT if found else "$muted") for text, found in pieces))
    sizes = [cell_len(sign) for sign in line.plain]
    begin = next((span.start for span in line.spans if span.style == HIT), 0)
    room = width // 3  # for what is before the hit
    rest = sum(sizes[begin:])
    # More is before it where what follows leaves room.
    while begin > 0 and (sizes[begin - 1] <= room or rest + sizes[begin - 1] < width):
        begin, room, rest = begin - 1, room - sizes[begin - 1], rest + sizes[begin - 1]
    before = ("…", "$muted") if begin > 0 else ""
    return Content.assemble(before, line[begin:]).truncate(width, ellipsis=True)


def _shortened(snippet: Iterable[tuple[str, bool]], limit: int) -> Iterator[tuple[str, bool]]:
    """The pieces without what is far from the first hit: a word of a megabyte is one token to the index."""
    before = True
    for text, found in snippet:
        before = before and not found
        yield (text[-limit:] if before else text[:limit]), found


def row_lines(row: Row, width: int, look: Look, *, cursor: bool = False) -> list[Content]:
    """The lines of a row, `height_of` many, each at most `width` cells."""
    if isinstance(row, Heading):
        return [Content.styled(fit([f" {row.name}"], width), "bold $primary")]
    lines = [_hit_head(row, width, look), _hit_text(row, width)] if isinstance(row, Hit) else [_line(row, width, look)]
    if cursor:
        lines[0] = Content(MARK).append(lines[0][1:])
        lines = [selected(line, width) for line in lines]
    return lines


def _line(row: ConversationSummary, width: int, look: Look) -> Content:
    room = width - MARGIN - EDGE
    columns = ""
    for text, size in ((age(look.now, row.updated_at), _AGE), (counted(row.turns, "turn"), _TURNS)):
        if room - size - 2 >= LEAST_TITLE:
            columns = f"  {fit([text], size):>{size}}{columns}"
            room -= size + 2
    size = next((size for size in _MODEL_WIDTHS if room - size - 2 >= _FOR_MODEL), 0)
    if size:
        model = one_line(row.model.name, size * 2) if row.model is not None else ""
        columns = f"  {Content(model).truncate(size, ellipsis=True, pad=True)}{columns}"
        room -= size + 2
    states = [*(["open"] if row.id == look.current else []), *(["interrupted"] if row.interrupted else [])]
    state = f"  {', '.join(states)}" if states else ""
    if room - len(state) < 8:
        state = ""
    if look.title:
        room = min(room, max(look.title, LEAST_TITLE))
    title = marked(shown_title(row.title), look.query)
    title = title.truncate(max(0, room - len(state)), ellipsis=True, pad=True)
    return Content.assemble(_margin(pinned=row.pinned), title, (state, "$accent"), (columns, "$muted"))


def _hit_head(hit: Hit, width: int, look: Look) -> Content:
    who = "reasoning" if hit.part == "reasoning" else "you" if hit.role == "user" else "answer"
    tail = f" · {who} · {age(look.now, hit.created_at)}"
    title = marked(shown_title(hit.title), look.query)
    room = max(0, width - MARGIN - len(tail))
    return Content.assemble(_margin(), title.truncate(room, ellipsis=True), (tail, "$muted"))


def _hit_text(hit: Hit, width: int) -> Content:
    return Content.assemble(" " * MARGIN, excerpt(hit.snippet, max(0, width - MARGIN - 1)))


def _margin(*, pinned: bool = False) -> Content:
    """Room for the cursor's mark, and the pin's mark."""
    return Content.assemble("  ", ("★ " if pinned else "  ", "$accent"))


def detail(row: Entry, titles: Sequence[ConversationSummary]) -> list[str]:
    """What there is to say of the row under the cursor, the most telling first."""
    summary = row if isinstance(row, ConversationSummary) else None
    if isinstance(row, Hit):
        summary = next((one for one in titles if one.id == row.conversation_id), None)
    when = moment(row.created_at if isinstance(row, Hit) else row.updated_at)
    number = f"#{conversation_of(row)}"  # what --resume and export take
    if summary is None:
        return [number, when, shown_title(row.title)]
    model = summary.model
    name = one_line(" ".join(part for part in (model.name, model.variant) if part)) if model is not None else ""
    states = [*(["pinned"] if summary.pinned else []), *(["interrupted"] if summary.interrupted else [])]
    return [number, *([name] if name else []), counted(summary.turns, "turn"), when, *states]
