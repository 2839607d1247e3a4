"""The layer map as text: rows of cells in, lines of text with named styles out. Pure, so that tests read it as drawn.

A style is one of the theme's, or the name of a `Paint`, which palette.py turns into colours of the theme.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from textual.content import Content

from qwen_core.checkpoint.layout import Layout
from qwen_tui.layers.map import GROUP_NAMES, Cell, LayerMap, MapRow, Place
from qwen_tui.text.sparkline import BARS
from qwen_tui.widgets.cursor_list import CURSOR, Heading

Colouring = Literal["mode", "bits", "bytes", "error"]
COLOURINGS: tuple[Colouring, ...] = get_args(Colouring)

FADED = "·"  # stands in the cells that a filter leaves out
LABEL = 10
MARGIN = LABEL + 2  # the cursor's mark, the label, a blank
_BITS = (2, 3, 4, 5, 6, 8, 16, 32)


class Paint(NamedTuple):
    """How a cell is painted. `hue` and `step` (1 to 8) class it; `lit`: a token is reading it right now."""

    part: Literal["tile", "bar"]
    hue: str
    step: int
    lit: bool = False

    @property
    def style(self) -> str:
        """Its name as a style."""
        return f"{self.part} {self.hue} {self.step}{' lit' if self.lit else ''}"


MUTED, STRONG, HERE, BAD = "$muted", "bold", "bold $accent", "$error"
Lines = list[Content]


@dataclass(frozen=True)
class View:
    """How the map is looked at. `matches`: canonical names that a filter leaves, None without one.

    `reading`: a token is being decoded. `first`: the leftmost of the `shown` columns, each `pitch` cells wide.
    """

    place: Place
    colouring: Colouring = "mode"
    matches: frozenset[str] | None = None
    reading: bool = False
    first: int = 0
    shown: int = 64
    pitch: int = 1


def lines_of(layer_map: LayerMap, *, small: bool, headings: bool) -> list[MapRow | Heading]:
    """The rows in order, with the small tensors or without them, and a heading or a gap before each group."""
    lines: list[MapRow | Heading] = []
    group = "mixer"
    for row in layer_map.rows:
        if row.spec.group == "small" and not small:
            continue
        if row.spec.group != group and headings:
            lines.append(Heading(GROUP_NAMES.get(row.spec.group, "")))
        group = row.spec.group
        lines.append(row)
    return lines


def flowed(pieces: Iterable[Content], width: int, separator: str = " · ") -> Lines:
    """Pieces one after the other, on as many lines of `width` cells as they need; never torn, but cut if too long."""
    gap = Content.styled(separator, MUTED)
    lines: Lines = []
    for piece in pieces:
        if not piece:
            continue
        if lines and lines[-1].cell_length + gap.cell_length + piece.cell_length <= width:
            lines[-1] = Content.assemble(lines[-1], gap, piece)
        else:
            lines.append(piece)
    return [line.truncate(width) for line in lines]


# Cells.


def look_of(cell: Cell, layer_map: LayerMap, view: View) -> tuple[str, Paint | str]:
    """What stands in a cell and how it looks, the cursor aside."""
    module = cell.module
    if module is None:
        return cell.glyph, STRONG if cell.hue == "full" else MUTED
    if view.matches is not None and module.canonical not in view.matches:
        return FADED, MUTED
    # A token reads one row of the embedding: what stays unread stays unlit. Of experts it reads some of every stack.
    lit = view.reading and (module.token_bytes == module.nbytes or module.experts > 0)
    match view.colouring:
        case "mode":
            return cell.glyph, Paint("tile", cell.hue, bits_step(cell.bits) if cell.hue != "float" else 4, lit)
        case "bits":
            return cell.glyph, Paint("tile", "bits", bits_step(cell.bits), lit)
        case "bytes":
            step = bytes_step(module.token_bytes, layer_map.tallest)
            return bytes_glyph(step), Paint("bar", "bytes", step, lit)
        case "error" if module.error is None:
            return FADED, MUTED
        case "error":
            step = error_step(module.error or 0)
            return bytes_glyph(step), Paint("bar", "error", step, lit)


ERROR_BOUNDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Where the second to the seventh step of an error begin: shares of a weight's size. 8 bits are in the first, 4 in the
sixth or seventh."""
TALLEST = 7
"""Eighths of a row that the tallest bar fills: a whole row would run into the bar above it."""


def bits_step(bits: int) -> int:
    """1 (2 bits) to 8 (32 bits)."""
    return next((step for step, most in enumerate(_BITS, 1) if bits <= most), 8)


def bytes_step(token_bytes: int, tallest: int) -> int:
    """Sevenths of the costliest module inside the layers, at most TALLEST; 0 for what is less than half of one."""
    return min(TALLEST, round(TALLEST * token_bytes / tallest)) if tallest else 0


def error_step(error: float) -> int:
    """1 to TALLEST: each step is twice the error of the one before; 0 for a weight without any."""
    return sum(error > bound for bound in (0.0, *ERROR_BOUNDS))


def next_colouring(colouring: Colouring, layout: Layout) -> Colouring:
    """The one after it; by error only where some is known."""
    known = any(module.error is not None for module in layout.modules)
    offered: list[Colouring] = [one for one in COLOURINGS if one != "error" or known]
    return offered[(offered.index(colouring) + 1) % len(offered)] if colouring in offered else offered[0]


def bytes_glyph(step: int) -> str:
    """A bar, or for step 0 a point: a byte is not to look like a megabyte."""
    return BARS[step - 1] if step else "."


def row_line(row: MapRow, layer_map: LayerMap, view: View) -> Content:
    """One row of the map: the cursor's mark, its label, the columns in view."""
    here = row.spec.label == view.place.row
    # The label tells whether a filter leaves anything of the row.
    is_left = view.matches is None or any(
        cell is not None and (cell.module is None or cell.module.canonical in view.matches) for cell in row.cells
    )
    head = f"{'▸' if here else ' '}{row.spec.label[:LABEL]:<{LABEL}} "
    return Content.assemble((head, STRONG if here else "" if is_left else MUTED), *_cells(row, layer_map, view))


def _cells(row: MapRow, layer_map: LayerMap, view: View) -> Iterator[tuple[str, str]]:
    pitch = view.pitch
    words = _end_words(row, pitch) if row.spec.group == "ends" else ""
    cursor = view.place.column if row.spec.label == view.place.row else -1
    for column in range(view.first, min(view.first + view.shown, len(row.cells))):
        cell, is_cursor = row.cells[column], column == cursor
        if cell is None:
            text, style = words[column * pitch : (column + 1) * pitch].ljust(pitch), MUTED if words else ""
        else:
            text, paint = look_of(cell, layer_map, view)
            is_bar = isinstance(paint, Paint) and paint.part == "bar"
            if is_bar and is_cursor:
                text = cell.glyph  # a reversed bar reads as another bar
            text = text * (pitch - 1) + " " if is_bar and not is_cursor and pitch > 1 else text.center(pitch)
            style = paint.style if isinstance(paint, Paint) else paint
        yield text, CURSOR if is_cursor else style


def _end_words(row: MapRow, pitch: int) -> str:
    """Names beside the cells of the last row, where the empty columns between them have room."""
    before = [c.module.role for c in row.cells[:1] if c is not None and c.module is not None]
    after = [c.module.role for c in row.cells[1:] if c is not None and c.module is not None]
    width = len(row.cells) * pitch
    left, right = " ◂ " + before[0] if before else "", f"{', '.join(after)} ▸ " if after else ""
    room = (len(row.cells) - 1 - len(after)) * pitch
    if len(left) + len(right) + 2 > room:
        return " " * width
    start = " " * pitch + left
    return start + right.rjust(width - len(start) - len(after) * pitch) + " " * (len(after) * pitch)


# Around the cells.


def axis_line(layer_map: LayerMap, view: View) -> Content:
    """Layer numbers above every eighth column, the last one, and in place of its neighbours the cursor's.

    ‹ and › say that there are columns beyond the edge.
    """
    last = len(layer_map.layout.layer_kinds) - 1
    end = min(view.first + view.shown, layer_map.columns)
    width = max(0, (end - view.first) * view.pitch)
    marks: list[tuple[int, str, str]] = []

    def put(layer: int, style: str) -> None:
        text = str(layer)
        at = (layer - view.first) * view.pitch + (view.pitch - 1) // 2
        at = max(0, min(at, width - len(text)))
        if all(at + len(text) < start or at > start + len(other) for start, other, _ in marks):
            marks.append((at, text, style))

    cursor = view.place.column
    if view.first <= cursor < end and cursor <= last:
        put(cursor, HERE)
    if view.first <= last < end:
        put(last, MUTED)
    # A number every eighth layer; of a small model, as often as there is room.
    step = 8 if last >= 16 else next(step for step in (1, 2, 4, 8) if step * view.pitch > len(str(last)))
    for layer in range(view.first + -view.first % step, min(end, last + 1), step):
        put(layer, MUTED)
    more_left, more_right = view.first > 0, end < layer_map.columns
    line = Content.styled(f" {'layer':<{LABEL - 1}}{'‹' if more_left else ' '} ", MUTED)
    for start, text, style in sorted(marks):
        line = line.pad_right(MARGIN + start - len(line)).append(Content.styled(text, style))
    return line.pad_right(MARGIN + width - len(line)).append(Content.styled("›" if more_right else "", MUTED))


def heading_line(text: str) -> Content:
    return Content.styled(f" {text}" if text else "", MUTED)
