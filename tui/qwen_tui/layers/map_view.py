"""The layer map as a widget: draws the rows of map_text.py that are in view, and moves the cursor over them."""

from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click

from qwen_tui.layers.arrangement import Arrangement
from qwen_tui.layers.legend import below, beside
from qwen_tui.layers.map import LayerMap, MapRow, Place
from qwen_tui.layers.map_text import (
    MARGIN,
    Lines,
    View,
    axis_line,
    heading_line,
    lines_of,
    next_colouring,
    row_line,
)
from qwen_tui.layers.painter import CellStyles
from qwen_tui.widgets.cursor_list import CursorList


class LayerMapView(CursorList[MapRow], CellStyles, inherit_bindings=False):
    """Axis, rows and legend. The screen gives it the map, and hears where the cursor goes."""

    DEFAULT_CSS = """
    LayerMapView { height: auto; }
    """
    ABOVE = WHEEL = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(0, -1)", "Left", show=False),
        Binding("right,l", "move(0, 1)", "Right", show=False),
        Binding("up,k", "move(-1, 0)", "Up", show=False),
        Binding("down,j", "move(1, 0)", "Down", show=False),
        Binding("home", "column(0)", "First layer", show=False),
        Binding("end", "column(-1)", "Last layer", show=False),
        Binding("pageup", "row(0)", "First row", show=False),
        Binding("pagedown", "row(-1)", "Last row", show=False),
    ]

    class Moved(CursorList.Moved):
        """The cursor is somewhere else."""

    def __init__(self, layer_map: LayerMap, view: View) -> None:
        super().__init__()
        self._map = layer_map
        self.view = view
        self._arrangement = Arrangement(1, 1, 1, False, False, 0, 0, 0)
        self._width = 1
        self._legend: Lines = []
        self._legend_key: object = None

    def arranged(self, arrangement: Arrangement, width: int) -> None:
        """Take new sizes, before the widget has its own: `width` is the screen's. The cursor stays in view."""
        self._arrangement, self._width = arrangement, width
        self.fill(lines_of(self._map, small=arrangement.small, headings=arrangement.headings), self._cursor)
        self.styles.height = 1 + arrangement.rows + arrangement.legend_height
        self.look(replace(self.view, pitch=arrangement.pitch, shown=arrangement.shown))

    def look(self, view: View) -> None:
        """Draw as `view` says, scrolled so that its place is visible."""
        place = view.place
        rows = {row.spec.label: number for number, row in enumerate(self._rows) if isinstance(row, MapRow)}
        if rows and place.row not in rows:
            place = Place(list(rows)[-1], place.column)  # its row was hidden
        shown = view.shown
        first = min(max(view.first, place.column - shown + 1), place.column)
        first = max(0, min(first, self._map.columns - shown))
        moved = place != self.view.place
        self.view = replace(view, place=place, first=first)
        self._draw_legend()
        self.place(rows.get(place.row, 0))
        if moved:
            self.post_message(self.Moved())

    def recolour(self) -> None:
        """By the next thing that colours can tell."""
        self.look(replace(self.view, colouring=next_colouring(self.view.colouring, self._map.layout)))

    def _draw_legend(self) -> None:
        """Anew only where it would look otherwise: it counts every module."""
        arrangement = self._arrangement
        key = (self.view.colouring, arrangement, self._width)
        if key == self._legend_key:
            return
        self._legend_key = key
        if arrangement.legend_width:
            self._legend = beside(self._map, self.view.colouring, arrangement.legend_width, 1 + arrangement.rows)
        else:
            height = max(1, arrangement.legend_height)
            self._legend = below(self._map, self.view.colouring, max(1, self._width), height)

    @property
    def room(self) -> int:
        return self._arrangement.rows

    # Drawing.

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        row = self._rows[number]
        line = row_line(row, self._map, self.view) if isinstance(row, MapRow) else heading_line(row.name)
        return self._beside_legend(line, number - self._top + 1, width)

    def other_line(self, y: int, width: int) -> Content:
        if y <= self.room:
            return self._beside_legend(axis_line(self._map, self.view) if y == 0 else Content(""), y, width)
        line = y - self.room - 1
        return self._legend[line] if line < len(self._legend) and not self._arrangement.legend_width else Content("")

    def _beside_legend(self, line: Content, y: int, width: int) -> Content:
        """Line `y` of the widget, with what stands beside it of the legend."""
        if not self._arrangement.legend_width:
            return line.truncate(width)
        start = MARGIN + self._arrangement.shown * self._arrangement.pitch + 2
        legend = self._legend[y] if y < len(self._legend) else Content("")
        return Content.assemble(line.truncate(start - 1).truncate(start, pad=True), legend)

    # The cursor.

    def go_to(self, place: Place) -> None:
        if place != self.view.place:
            self.look(replace(self.view, place=place))

    def go(self, number: int) -> None:
        self.place(number)
        if self.row is not None:
            self.go_to(Place(self.row.spec.label, self.view.place.column))

    def action_move(self, rows: int, columns: int = 0) -> None:
        if rows:
            super().action_move(rows)
        else:
            self.go_to(Place(self.view.place.row, self._column(columns)))

    def _column(self, step: int) -> int:
        """The column `step` further; in the row of the ends, where most are empty, the next that is not."""
        here, last = self.view.place.column, self._map.columns - 1
        column = max(0, min(last, here + step))
        row = self._map.by_label[self.view.place.row]
        if row.spec.group == "ends":
            while row.cells[column] is None:
                if not 0 <= column + step <= last:
                    return here
                column += step
        return column

    def action_column(self, column: int) -> None:
        self.go_to(Place(self.view.place.row, column % self._map.columns))

    def on_click(self, event: Click) -> None:
        event.prevent_default()  # a click beside the cells means no row
        found = self.at(event.y) if event.x >= MARGIN else None
        row = self._rows[found[0]] if found is not None else None
        column = self.view.first + (event.x - MARGIN) // self.view.pitch
        if isinstance(row, MapRow) and column < min(self.view.first + self.view.shown, self._map.columns):
            self.go_to(Place(row.spec.label, column))
