"""How a report for people is made: rich's tables and texts, as wide as where they go, plain in a pipe.

A text that comes from a file is made printable here: nothing is markup, and no terminal acts on a name.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from qwen_tui.commands.output import output_width, print_lines
from qwen_tui.text.safe import visible

GAP = 2
HEADING, FAINT, BAD = "bold", "dim", "red"
Cell = str | Text


def figures(title: str) -> Column:
    """A column of figures: at the right, and whole at any width."""
    return Column(title, justify="right", no_wrap=True)


def words(title: str) -> Column:
    """A column of short words, whole at any width."""
    return Column(title, no_wrap=True)


def folding(title: str, least: int | None = None, *, right: bool = False) -> Column:
    """A column that goes on on further lines: broken between words, or anywhere down to `least` cells."""
    return Column(title, overflow="fold", min_width=least, justify="right" if right else "left")


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], width: int, gap: int = GAP) -> Table:
    """A heading, unless every title is empty, and the rows.

    Where `width` is too little, the first columns have what they need first. A column that neither folds nor stays
    whole is cut with an ellipsis, down to its `min_width`; where that does not do, the last columns are left out.
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    needs = [
        _needs(column, texts)
        for column, *texts in zip(columns, [Text(str(column.header)) for column in columns], *cells, strict=True)
    ]
    widths = _widths(needs, width, gap)
    if sum(widths) + gap * (len(widths) - 1) > width and any(column.overflow != "fold" for column in columns):
        widths = _cut(widths, width, gap)  # else rich takes something of every column, figures too
    folds = False
    for column, room, (fewest, most) in zip(columns, widths, needs, strict=False):
        if room < fewest:
            column.overflow = "ellipsis"
        column.width, column.no_wrap = room, column.overflow != "fold"
        folds = folds or (not column.no_wrap and room < most)
    shown = columns[: len(widths)]
    made = Table(*shown, box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style=HEADING)
    made.show_header = any(column.header for column in columns)
    if cells and not folds:
        # Every row is one line, so that a column may be one cell: rich takes a second for the 27B's 851 modules.
        cells = [[Text("\n").join(texts) for texts in zip(*cells, strict=True)]]
    for row in cells:
        made.add_row(*row[: len(shown)])
    return made


def _widths(needs: Sequence[tuple[int, int]], width: int, gap: int) -> list[int]:
    """What each column gets: what it needs at least, and of what is left the first ones first."""
    spare = width - gap * (len(needs) - 1) - sum(fewest for fewest, _ in needs)
    widths = []
    for fewest, most in needs:
        widths.append(fewest + min(max(spare, 0), most - fewest))
        spare -= widths[-1] - fewest
    return widths


def _cut(widths: Sequence[int], width: int, gap: int) -> list[int]:
    """The columns that `width` has room for, the last one narrowed to what is left."""
    kept: list[int] = []
    for room in widths:
        if width > 0:
            kept.append(min(room, width))
            width -= room + gap
    return kept


def _needs(column: Column, texts: Sequence[Text]) -> tuple[int, int]:
    """The fewest cells that a column may have, and how many it can use."""
    most = max(text.cell_len for text in texts)
    if column.no_wrap:
        return most, most
    if column.min_width is not None:
        return min(column.min_width, most), most
    return max((cell_len(word) for text in texts for word in text.plain.split()), default=1), most


def _shown(text: str) -> str:
    return visible(text).replace("\n", " ").replace("\t", " ")


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(_shown(cell))


def facts(pairs: Iterable[tuple[str, Cell]], width: int, style: str = FAINT) -> Table:
    """Lines of "label  text", the text wrapped beside its label. An empty label goes on with the one before it."""
    kept = [(label, text) for label, text in pairs if text]
    room = width - GAP - max((cell_len(label) for label, _ in kept), default=0)
    rows = [(Text(label, style), _at_slashes(text, room) if isinstance(text, str) else text) for label, text in kept]
    return table((words(""), folding("", 1)), rows, width)


def _at_slashes(text: str, room: int) -> Cell:
    """`text` with line ends behind slashes where a path in it is wider than `room`: no name of a folder is broken that
    a line has room for."""
    shown = _shown(text)
    if room < 1 or all(cell_len(word) <= room for word in shown.split(" ") if "/" in word):
        return text
    lines = [""]
    for piece in re.findall(r"[^/ ]*[/ ]?", shown):
        if lines[-1] and cell_len(lines[-1] + piece.rstrip(" ")) > room:
            lines.append("")
        lines[-1] += piece
    return Text("\n".join(line.rstrip(" ") for line in lines))


def line(text: str, style: str = "") -> Text:
    """One line, cut if it is too long."""
    return Text(_shown(text), style, no_wrap=True, overflow="ellipsis")


def paragraph(text: str, style: str = "") -> Text:
    """A text of its own, wrapped."""
    return Text(_shown(text), style, overflow="fold")


def print_report(parts: Iterable[RenderableType], width: int | None = None) -> None:
    """Write a report to standard output, in the colours of a terminal or as plain text."""
    is_terminal = sys.stdout.isatty()
    console = Console(
        width=width or output_width(), force_terminal=is_terminal, markup=False, highlight=False, emoji=False
    )
    print_lines(rendered(console, parts))


def rendered(console: Console, parts: Iterable[RenderableType]) -> Iterator[str]:
    """The lines of a report; without colours there is no blank at their ends either."""
    for part in parts:
        with console.capture() as captured:
            console.print(part)
        for line in captured.get().removesuffix("\n").split("\n"):
            yield line if console.is_terminal else line.rstrip()
