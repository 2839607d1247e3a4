"""Tables as lines of a given width. Faster than rich's own table, which takes a second for the 27B's 851 modules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.text import Text

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_tui.text.safe import cells

GAP = 2
HEADING, FAINT, BAD = "bold", "dim", "red"
# A colour for each mode; shades of meaning beyond that are in the words.
MODE_STYLES = {"nvfp4": "green", "mxfp4": "cyan", "mxfp8": "blue", "affine": "yellow"}


@dataclass(frozen=True)
class Column:
    """`right`: figures. `least`: may be narrowed to so many cells (None: never). `wraps`: goes on on further lines."""

    title: str
    right: bool = False
    least: int | None = None
    wraps: bool = False


@dataclass(frozen=True)
class Row:
    """One row: texts of ours or made printable before, and a style for each (a shorter tuple leaves the rest plain)."""

    texts: tuple[str, ...]
    styles: tuple[str, ...] = ()


def grid(columns: Sequence[Column], rows: Sequence[Row], width: int, gap: int = GAP) -> Iterator[Text]:
    """The heading, then every row, in at most `width` cells a line: narrowed where a column allows it, else cut."""
    widths = _widths(columns, rows, width, gap)
    yield _line(columns, widths, tuple(column.title for column in columns), (HEADING,) * len(columns), width, gap)
    for row in rows:
        parts = [
            _wrapped(text, room) if column.wraps else (text,)
            for column, room, text in zip(columns, widths, row.texts, strict=True)
        ]
        for texts in zip_longest(*parts, fillvalue=""):
            yield _line(columns, widths, texts, row.styles, width, gap)


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int, gap: int) -> list[int]:
    widths = [cells(column.title) for column in columns]
    for row in rows:
        for index, text in enumerate(row.texts):
            widths[index] = max(widths[index], cells(text))
    over = sum(widths) + gap * (len(widths) - 1) - width
    # The last columns say the least that is not said elsewhere: they give way first.
    for index in range(len(columns) - 1, -1, -1):
        least = columns[index].least
        if over > 0 and least is not None and widths[index] > least:
            taken = min(over, widths[index] - least)
            widths[index] -= taken
            over -= taken
    return widths


def _line(
    columns: Sequence[Column], widths: Sequence[int], texts: Sequence[str], styles: Sequence[str], width: int, gap: int
) -> Text:
    line = Text(no_wrap=True)
    left = width
    last = max((index for index, text in enumerate(texts) if text), default=0)
    for index, (column, room, text) in enumerate(zip(columns, widths, texts, strict=True)):
        if left <= (gap if index else 0) or index > last:
            break
        if index:
            line.append(" " * gap)
            left -= gap
        piece = padded(clipped(text, min(room, left)), min(room, left), right=column.right, trail=index < last)
        line.append(piece, styles[index] if index < len(styles) and styles[index] else None)
        left -= room
    return line


def clipped(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something is left out."""
    if cells(text) <= width:
        return text
    kept = ""
    for character in text:
        if cells(kept + character) > width - 1:
            break
        kept += character
    return f"{kept}…" if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False, trail: bool = True) -> str:
    """`text` filled up to `width` cells; without `trail` nothing is added behind it."""
    space = " " * (width - cells(text))
    return space + text if right else text + space if trail else text


def _wrapped(text: str, width: int) -> tuple[str, ...]:
    """`text` in lines of at most `width` cells, broken at spaces, and inside a word that has no line to itself."""
    width = max(width, 2)  # a wide character needs as much
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cells(joined) <= width:
            lines[-1] = joined
            continue
        pieces = _cut(word, width)
        lines[:] = [*lines, *pieces] if lines[-1] else [*lines[:-1], *pieces]
    return tuple(lines)


def _cut(word: str, width: int) -> list[str]:
    pieces = [""]
    for character in word:
        if cells(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def facts(pairs: Iterable[tuple[str, str]], width: int) -> Iterator[Text]:
    """Lines of "label  text", the text wrapped beside its label. An empty label goes on with the one before it."""
    rows = [(label, text) for label, text in pairs if text]
    column = max((cells(label) for label, _ in rows), default=0) + GAP
    for label, text in rows:
        for number, part in enumerate(_wrapped(text, width - column)):
            line = Text(no_wrap=True)
            line.append(padded(label if number == 0 else "", column), FAINT)
            line.append(clipped(part, max(width - column, 0)))
            yield line


def note_lines(text: str, width: int, style: str = FAINT) -> Iterator[Text]:
    """A remark of its own, wrapped."""
    return (plain(clipped(line, width), style) for line in _wrapped(text, width))


def plain(text: str, style: str = "") -> Text:
    """One line."""
    return Text(text, style=style, no_wrap=True)


def mode_style(module: ModuleLayout) -> str:
    return MODE_STYLES.get(module.mode, FAINT)
