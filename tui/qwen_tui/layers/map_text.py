"""The layer map as text: rows of cells in, runs of text with a paint out. Pure, so that tests read it as it is drawn.

A `Paint` says what a run is, never which colour it takes: palette.py turns it into one of the theme's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from qwen_tui.layers.map import GROUP_NAMES, Cell, LayerMap, MapRow, Place
from qwen_tui.text.safe import cells as width_of
from qwen_tui.text.sparkline import BARS

Colouring = Literal["mode", "bits", "bytes"]
COLOURINGS: tuple[Colouring, ...] = get_args(Colouring)
Part = Literal["blank", "text", "strong", "muted", "here", "tile", "bar", "linear", "full", "faded", "bad"]

FADED = "·"  # stands in the cells that a filter leaves out
LABEL = 10
MARGIN = LABEL + 2  # the cursor's mark, the label, a blank
_BITS = (2, 3, 4, 5, 6, 8, 16, 32)


class Paint(NamedTuple):
    """What a run of text is. `hue` and `step` (1 to 8) class a cell; `lit`: a token is reading it right now."""

    part: Part
    hue: str = ""
    step: int = 0
    lit: bool = False
    cursor: bool = False


class Run(NamedTuple):
    text: str
    paint: Paint


Line = MapRow | str  # a heading, "" for a gap
BLANK, MUTED, TEXT, STRONG, HERE, BAD = (Paint(p) for p in ("blank", "muted", "text", "strong", "here", "bad"))


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


def lines_of(layer_map: LayerMap, *, small: bool, headings: bool) -> list[Line]:
    """The rows in order, with the small tensors or without them, and a heading or a gap before each group."""
    lines: list[Line] = []
    group = "mixer"
    for row in layer_map.rows:
        if row.spec.group == "small" and not small:
            continue
        if row.spec.group != group and headings:
            lines.append(GROUP_NAMES.get(row.spec.group, ""))
        group = row.spec.group
        lines.append(row)
    return lines


def text_of(runs: Iterable[Run]) -> str:
    return "".join(run.text for run in runs)


def merged(runs: Iterable[Run]) -> list[Run]:
    """Neighbours of one paint as one run."""
    result: list[Run] = []
    for run in runs:
        if not run.text:
            continue
        if result and result[-1].paint == run.paint:
            result[-1] = Run(result[-1].text + run.text, run.paint)
        else:
            result.append(run)
    return result


# Cells.


def paint_of(cell: Cell, layer_map: LayerMap, view: View) -> Paint:
    """What a cell is painted as, the cursor aside."""
    module = cell.module
    if module is None:
        return Paint("full" if cell.hue == "full" else "linear")
    if view.matches is not None and module.canonical not in view.matches:
        return Paint("faded")
    # A token reads one row of the embedding: what stays unread stays unlit.
    lit = view.reading and module.token_bytes == module.nbytes
    match view.colouring:
        case "mode":
            return Paint("tile", cell.hue, bits_step(cell.bits) if cell.hue != "float" else 4, lit)
        case "bits":
            return Paint("tile", "bits", bits_step(cell.bits), lit)
        case "bytes":
            return Paint("bar", "bytes", bytes_step(module.token_bytes, layer_map.tallest), lit)


def bits_step(bits: int) -> int:
    """1 (2 bits) to 8 (32 bits)."""
    return next((step for step, most in enumerate(_BITS, 1) if bits <= most), 8)


def bytes_step(token_bytes: int, tallest: int) -> int:
    """Eighths of the costliest module inside the layers, at least 1, at most 8."""
    return min(8, max(1, round(8 * token_bytes / tallest))) if tallest else 1


def cell_text(cell: Cell, paint: Paint, pitch: int) -> str:
    """A cell of `pitch` terminal cells."""
    if paint.part == "bar":
        bar = BARS[paint.step - 1]
        return bar if pitch == 1 else bar * (pitch - 1) + " "
    glyph = FADED if paint.part == "faded" else cell.glyph
    before = (pitch - 1) // 2
    return " " * before + glyph + " " * (pitch - 1 - before)


def row_runs(row: MapRow, layer_map: LayerMap, view: View) -> list[Run]:
    """One row of the map: the cursor's mark, its label, the columns in view."""
    here = row.spec.label == view.place.row
    label = "▸" if here else " "
    # The label tells whether a filter leaves anything of the row.
    is_left = view.matches is None or any(
        cell is not None and (cell.module is None or cell.module.canonical in view.matches) for cell in row.cells
    )
    paint = STRONG if here else TEXT if is_left else MUTED
    head = Run(f"{label}{row.spec.label[:LABEL]:<{LABEL}} ", paint)
    return merged([head, *_cell_runs(row, layer_map, view)])


def _cell_runs(row: MapRow, layer_map: LayerMap, view: View) -> Iterator[Run]:
    words = _end_words(row, view.pitch) if row.spec.group == "ends" else ""
    cursor = view.place.column if row.spec.label == view.place.row else -1
    for column in range(view.first, min(view.first + view.shown, len(row.cells))):
        cell = row.cells[column]
        is_cursor = column == cursor
        if cell is None:
            text = words[column * view.pitch : (column + 1) * view.pitch] if words else " " * view.pitch
            yield Run(text, Paint("muted", cursor=is_cursor) if words else Paint("blank", cursor=is_cursor))
        else:
            paint = paint_of(cell, layer_map, view)
            # Under the cursor a bar gives way to its glyph: a reversed bar reads as another bar.
            text = cell_text(cell, Paint("tile") if is_cursor and paint.part == "bar" else paint, view.pitch)
            yield Run(text, paint._replace(cursor=True) if is_cursor else paint)


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


def axis_runs(layer_map: LayerMap, view: View) -> list[Run]:
    """Layer numbers above every eighth column, the last one, and in place of its neighbours the cursor's.

    ‹ and › say that there are columns beyond the edge.
    """
    last = len(layer_map.layout.layer_kinds) - 1
    end = min(view.first + view.shown, layer_map.columns)
    width = max(0, (end - view.first) * view.pitch)
    marks: list[tuple[int, str, Paint]] = []

    def put(layer: int, paint: Paint) -> None:
        text = str(layer)
        at = (layer - view.first) * view.pitch + (view.pitch - 1) // 2
        at = max(0, min(at, width - len(text)))
        if all(at + len(text) < start or at > start + len(other) for start, other, _ in marks):
            marks.append((at, text, paint))

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
    runs = [Run(f" {'layer':<{LABEL - 1}}{'‹' if more_left else ' '} ", MUTED)]
    position = 0
    for start, text, paint in sorted(marks):
        runs += [Run(" " * (start - position), BLANK), Run(text, paint)]
        position = start + len(text)
    runs.append(Run(" " * (width - position), BLANK))
    runs.append(Run("›" if more_right else "", MUTED))
    return merged(runs)


def heading_runs(text: str) -> list[Run]:
    return [Run(f" {text}", MUTED)] if text else []


def clipped(runs: Iterable[Run], width: int) -> list[Run]:
    """The part of a line that fits into `width` terminal cells."""
    result: list[Run] = []
    room = width
    for text, paint in runs:
        if width_of(text) > room:
            while text and width_of(text) > room:
                text = text[:-1]
        if text:
            result.append(Run(text, paint))
        room -= width_of(text)
    return result
