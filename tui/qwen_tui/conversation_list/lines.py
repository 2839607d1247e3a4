"""The list of conversations as text: rows in, pieces of a line out, each with what it is. Pure.

A row is a conversation (one line), a message that a search found (two), or a heading. Titles and snippets are
untrusted: they are made visible here.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qwen_tui.store import ConversationSummary, Hit
from qwen_tui.text.safe import cells, one_line, visible

Part = Literal["text", "muted", "hit", "mark", "heading"]
Key = tuple[Literal["conversation", "message"], int]

MAX_SHOWN_TITLE = 300  # characters: more than any line has room for
MARGIN = 4  # the cursor's mark and the pin's, each with a blank after it
LEAST_TITLE = 20
_AGE, _TURNS = 9, 10
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MODEL_WIDTHS = (24, 18, 14)
_FOR_MODEL = 34  # cells that the title keeps when the model's name has a column


class Piece(NamedTuple):
    text: str
    part: Part


@dataclass(frozen=True)
class Heading:
    """A line above the rows of one kind; the cursor passes over it."""

    text: str


Entry = ConversationSummary | Hit
Row = Entry | Heading
Line = list[Piece]


@dataclass(frozen=True)
class Look:
    """What the drawing of a row depends on, the row itself and the width aside."""

    now: float
    query: str = ""
    current: int | None = None


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


# Pieces of lines.


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…" if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells."""
    text = cut(text, width)
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def shown_title(title: str) -> str:
    return one_line(title, MAX_SHOWN_TITLE) or "(without a title)"


def turns_text(turns: int) -> str:
    return f"{turns:,} turn{'' if turns == 1 else 's'}"


def marked(text: str, query: str, part: Part = "text") -> Line:
    """`text` with every occurrence of `query` as a hit."""
    if not query:
        return [Piece(text, part)]
    line: Line = []
    for number, run in enumerate(re.split(f"({re.escape(query)})", text, flags=re.IGNORECASE)):
        if run:
            line.append(Piece(run, "hit" if number % 2 else part))
    return line


def excerpt(snippet: Iterable[tuple[str, bool]], width: int) -> Line:
    """A found message's text around its first hit, in at most `width` cells; nothing below 4."""
    if width < 4:
        return []
    signs = [
        (sign, found) for text, found in _shortened(snippet, 4 * width) for sign in re.sub(r"\s+", " ", visible(text))
    ]
    begin = next((place for place, (_, found) in enumerate(signs) if found), 0)
    room = width // 3  # for what is before the hit
    rest = sum(cells(sign) for sign, _ in signs[begin:])
    # More is before it where what follows leaves room.
    while begin > 0 and ((more := cells(signs[begin - 1][0])) <= room or rest + more < width):
        begin, room, rest = begin - 1, room - more, rest + more
    line: Line = [Piece("…", "muted")] if begin > 0 else []
    room = width - len(line)
    is_cut = rest > room
    for sign, found in signs[begin:]:
        room -= cells(sign)
        if room < is_cut:
            break
        part: Part = "hit" if found else "muted"
        if line and line[-1].part == part:
            line[-1] = Piece(line[-1].text + sign, part)
        else:
            line.append(Piece(sign, part))
    return [*line, Piece("…", "muted")] if is_cut else line


def _shortened(snippet: Iterable[tuple[str, bool]], limit: int) -> Iterator[tuple[str, bool]]:
    """The pieces without what is far from the first hit: a word of a megabyte is one token to the index."""
    before = True
    for text, found in snippet:
        before = before and not found
        yield (text[-limit:] if before else text[:limit]), found


def row_lines(row: Row, width: int, look: Look, *, cursor: bool = False) -> list[Line]:
    """The lines of a row, `height_of` many, each at most `width` cells."""
    if isinstance(row, Heading):
        return [[Piece(cut(f" {row.text}", width), "heading")]]
    if isinstance(row, Hit):
        return [_hit_head(row, width, look, cursor), _hit_text(row, width)]
    return [_conversation(row, width, look, cursor)]


def _conversation(row: ConversationSummary, width: int, look: Look, cursor: bool) -> Line:
    room = width - MARGIN
    columns: Line = []
    for text, size in ((age(look.now, row.updated_at), _AGE), (turns_text(row.turns), _TURNS)):
        if room - size - 2 >= LEAST_TITLE:
            columns.insert(0, Piece(f"  {padded(text, size, right=True)}", "muted"))
            room -= size + 2
    size = next((size for size in _MODEL_WIDTHS if room - size - 2 >= _FOR_MODEL), 0)
    if size:
        model = one_line(row.model.name, size * 2) if row.model is not None else ""
        columns.insert(0, Piece(f"  {padded(model, size)}", "muted"))
        room -= size + 2
    states = [*(["open"] if row.id == look.current else []), *(["interrupted"] if row.interrupted else [])]
    state = f"  {', '.join(states)}" if states else ""
    if room - cells(state) < 8:
        state = ""
    room -= cells(state)
    title = padded(shown_title(row.title), max(0, room))
    return [*_margin(cursor, pinned=row.pinned), *marked(title, look.query), Piece(state, "mark"), *columns]


def _hit_head(hit: Hit, width: int, look: Look, cursor: bool) -> Line:
    who = "reasoning" if hit.part == "reasoning" else "you" if hit.role == "user" else "answer"
    tail = f" · {who} · {age(look.now, hit.created_at)}"
    room = max(0, width - MARGIN - cells(tail))
    return [*_margin(cursor), *marked(cut(shown_title(hit.title), room), look.query), Piece(tail, "muted")]


def _hit_text(hit: Hit, width: int) -> Line:
    return [Piece(" " * MARGIN, "text"), *excerpt(hit.snippet, max(0, width - MARGIN - 1))]


def _margin(cursor: bool, *, pinned: bool = False) -> Line:
    return [Piece("▸ " if cursor else "  ", "text"), Piece("★ " if pinned else "  ", "mark")]


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
    return [number, *([name] if name else []), turns_text(summary.turns), when, *states]
