"""Blocks of text and how they fall into rows at a width: paragraphs, code, rules, tables. Pure; widgets draw the rows.

An answer of 50,000 characters is some hundreds of blocks. As a widget each they would cost a good part of a second for
every layout of the screen; as blocks in one widget they are laid out once for a width, and only rows in view are drawn.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from textual.content import Content, Span

Align = Literal["left", "center", "right"]
NOTHING = Content("")

LEAST_WIDTH = 4  # cells for text beside its signs; where there are fewer the signs give way
LEAST_COLUMN = 4
CODE_STYLE = "$foreground on $surface"
CODE_TEXT_STYLE = "$text"  # of what is in a known language
LINE_STYLE = "$panel"
MATCH_STYLE = "reverse bold"


@dataclass(frozen=True)
class Block:
    """One thing laid out by itself. `first` stands before its first row, `rest` before all others."""

    content: Content
    kind: Literal["text", "code", "rule", "table"] = "text"
    first: Content = NOTHING
    rest: Content = NOTHING
    gap: Content | None = NOTHING
    """What stands in the empty row before it; None: there is none. The very first block has none either."""
    language: str = ""
    source: str = ""
    """What is copied by the sign before it."""
    table: tuple[tuple[Content, ...], ...] = ()
    """Rows of as many cells each, the head first."""
    aligns: tuple[Align, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row of the screen. `line` and `column`: where it begins in the text of its block, for selecting."""

    content: Content
    line: int
    column: int
    signs: Content = NOTHING
    signs_are_text: bool = False
    fill: str = ""

    def is_same(self, other: "Row") -> bool:
        """Whether both look the same at the same place, styles included, which `==` of contents leaves out."""
        one, two = ((row.line, row.column, row.signs_are_text, row.fill) for row in (self, other))
        return one == two and self.signs.is_same(other.signs) and self.content.is_same(other.content)

    def coloured(self, spans: Sequence[tuple[int, int, str]]) -> "Row":
        """It with `spans` of its line of code, which are in order, below the styles that it has."""
        begin = 0 if self.signs_are_text else self.column - len(self.signs.plain)
        end = begin + len(self.content.plain)
        within = [Span(0, end - begin, CODE_TEXT_STYLE)]
        for start, stop, style in spans[max(0, bisect_right(spans, (begin,)) - 1) :]:
            if start >= end:
                break
            if stop > begin:
                within.append(Span(max(start, begin) - begin, min(stop, end) - begin, style))
        return replace(self, content=Content(self.content.plain, [*within, *self.content.spans]))


@dataclass
class Laid:
    """A block at some width. `texts`: its lines unwrapped, signs included; `hits`: its rows that hold a match."""

    rows: list[Row] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)


def finder(needle: str) -> re.Pattern[str] | None:
    """What finds `needle` in any case; None for nothing."""
    return re.compile(re.escape(needle), re.IGNORECASE) if needle else None


def holds(block: Block, find: re.Pattern[str]) -> bool:
    """Whether anything in `block` matches."""
    cells = (cell for row in block.table for cell in row)
    return any(find.search(content.plain) for content in (block.content, *cells))


def lay_out(block: Block, width: int, find: re.Pattern[str] | None = None) -> Laid:
    """The rows of `block` at `width` cells, what `find` finds in it marked."""
    laid = Laid()
    match block.kind:
        case "rule":
            signs = _fitting(block.first, width)
            _add(laid, Content.styled("─" * (width - signs.cell_length), LINE_STYLE), signs)
        case "table":
            _lay_table(laid, block, width, find)
        case "code":
            edge = Content.styled(" ", CODE_STYLE)
            _lay_lines(laid, block.content, block.first + edge, block.rest + edge, width, find, CODE_STYLE)
        case "text":
            _lay_lines(laid, block.content, block.first, block.rest, width, find)
    return laid


def _fitting(signs: Content, width: int) -> Content:
    """`signs`, or nothing where they leave too little room."""
    return signs if width - signs.cell_length >= LEAST_WIDTH else NOTHING


def _add(laid: Laid, content: Content, signs: Content, fill: str = "") -> None:
    """One more line of one row."""
    laid.rows.append(Row(content, len(laid.texts), 0, signs, True, fill))
    laid.texts.append(signs.plain + content.plain)


def _mark(content: Content, find: re.Pattern[str] | None) -> tuple[Content, list[int]]:
    """`content` with matches marked, and where these begin."""
    if find is None:
        return content, []
    spans = [Span(*match.span(), MATCH_STYLE) for match in find.finditer(content.plain)]
    return Content(content.plain, [*content.spans, *spans]), [span.start for span in spans]


def _lay_lines(
    laid: Laid,
    content: Content,
    first: Content,
    rest: Content,
    width: int,
    find: re.Pattern[str] | None,
    fill: str = "",
) -> None:
    room = width - max(first.cell_length, rest.cell_length) - bool(fill)
    if room < LEAST_WIDTH:
        first = rest = NOTHING
        room = max(2, width)  # a wide character needs two cells
    signs = first
    for line in content.split("\n", allow_blank=True):
        line, hits = _mark(line.expand_tabs(8) if "\t" in line.plain else line, find)
        number = len(laid.texts)
        lead = signs.plain
        began = len(laid.rows)
        for piece, column in _wrapped(line, room):
            whole = column == 0 and len(laid.rows) == began
            column = 0 if whole else column + len(lead)
            laid.rows.append(Row(piece, number, column, signs, whole, fill))
            signs = rest
        laid.texts.append(lead + line.plain)
        columns = [0 if row.signs_are_text else row.column - len(lead) for row in laid.rows[began:]]
        laid.hits.extend(began + bisect_right(columns, start) - 1 for start in hits)


def _wrapped(line: Content, width: int) -> Iterator[tuple[Content, int]]:
    """The rows of one line, each with the place where it begins in the line."""
    if line.cell_length <= width:
        yield line, 0
        return
    position = 0
    for piece in line.wrap(width):
        found = line.plain.find(piece.plain, position)
        position = found if found >= 0 else position
        yield piece, position
        position += len(piece.plain)


# Tables.


def _lay_table(laid: Laid, block: Block, width: int, find: re.Pattern[str] | None) -> None:
    rows = block.table
    room = width - block.first.cell_length
    widths = column_widths([[_widest(cell) for cell in row] for row in rows], room)
    if widths is None:
        _lay_table_as_list(laid, block, rows, width, find)
        return
    head = tuple(cell.stylize_before("bold $primary") for cell in rows[0])
    drawn = [_table_row(row, widths, block.aligns, find) for row in (head, *rows[1:])]
    # Rows of one line each read without a line between them.
    separate = any(len(lines) > 1 for lines in drawn[1:])
    bars = [_bar(widths, ends) for ends in ("┌┬┐", "├┼┤", "└┴┘")]
    _add(laid, bars[0], block.first)
    for number, lines in enumerate(drawn):
        if number == 1 or (number > 1 and separate):
            _add(laid, bars[1], block.rest)
        for line in lines:
            if find is not None:
                laid.hits.extend([len(laid.rows)] * len(find.findall(line.plain)))
            _add(laid, line, block.rest)
    _add(laid, bars[2], block.rest)


def _lay_table_as_list(
    laid: Laid, block: Block, rows: Sequence[tuple[Content, ...]], width: int, find: re.Pattern[str] | None
) -> None:
    """A table of more columns than there is room for: each cell on a line of its own, behind the name of its column."""
    head = [cell.stylize_before("bold $primary") for cell in rows[0]]
    for number, row in enumerate(rows[1:]):
        if number:
            _add(laid, Content(""), _fitting(block.rest, width))
        for name, cell in zip(head, row, strict=True):
            _lay_lines(laid, Content.assemble(name, ": ", cell), block.rest, block.rest + "  ", width, find)
    if len(rows) == 1:
        _lay_lines(laid, Content(" · ").join(head), block.first, block.rest, width, find)


def _widest(cell: Content) -> int:
    return max(line.cell_length for line in cell.split("\n", allow_blank=True))


def column_widths(cells: Sequence[Sequence[int]], room: int) -> list[int] | None:
    """Cells for each column of a table so that it is at most `room` wide, or None if that cannot be.

    `cells`: how wide the text of each cell is. The widest columns give way first.
    """
    widths = [max(1, *column) for column in zip(*cells, strict=True)]
    room -= 3 * len(widths) + 1  # a line and a blank left of each column's text, a blank right of it, the last line
    if sum(min(width, LEAST_COLUMN) for width in widths) > room:
        return None
    while sum(widths) > room:
        widest = max(widths)
        below = max((width for width in widths if width < widest), default=LEAST_COLUMN)
        many = widths.count(widest)
        # All the widest at once down to the next, or as far as is needed.
        step = max(1, min(widest - max(below, LEAST_COLUMN), (sum(widths) - room) // many))
        surplus = sum(widths) - room
        for index, width in enumerate(widths):
            if width == widest and surplus > 0:
                widths[index] -= step
                surplus -= step
    return widths


def _bar(widths: Sequence[int], ends: str) -> Content:
    left, middle, right = ends
    return Content.styled(left + middle.join("─" * (width + 2) for width in widths) + right, LINE_STYLE)


def _table_row(
    row: Sequence[Content], widths: Sequence[int], aligns: Sequence[Align], find: re.Pattern[str] | None
) -> list[Content]:
    """A row of cells as lines of text, wrapped within their columns."""
    cells = [_mark(cell, find)[0].wrap(width) for cell, width in zip(row, widths, strict=True)]
    bar = Content.styled("│", LINE_STYLE)
    lines = []
    for number in range(max(len(lines) for lines in cells)):
        pieces: list[Content | str] = []
        for index, (width, column) in enumerate(zip(widths, cells, strict=True)):
            text = column[number] if number < len(column) else Content("")
            left, right = _sides(width - text.cell_length, aligns[index] if index < len(aligns) else "left")
            pieces += [bar, " " * (1 + left), text, " " * (1 + right)]
        lines.append(Content.assemble(*pieces, bar))
    return lines


def _sides(spare: int, align: Align) -> tuple[int, int]:
    spare = max(0, spare)
    if align == "left":
        return 0, spare
    return (spare, 0) if align == "right" else (spare // 2, spare - spare // 2)
