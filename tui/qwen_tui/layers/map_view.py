"""The layer map as a widget: draws the rows of map_text.py that are in view, and moves the cursor over them."""

from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.strip import Strip
from textual.style import Style

from qwen_tui.layers.arrangement import Arrangement
from qwen_tui.layers.legend import below, beside
from qwen_tui.layers.map import LayerMap, MapRow, Place
from qwen_tui.layers.map_text import MARGIN, Line, Lines, View, axis_line, heading_line, lines_of, row_line
from qwen_tui.layers.painter import CellStyles


class LayerMapView(CellStyles, can_focus=True):
    """Axis, rows and legend. The screen gives it the map, and hears where the cursor goes."""

    DEFAULT_CSS = """
    LayerMapView { width: 1fr; height: auto; }
    """
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

    class Moved(Message):
        """The cursor is somewhere else."""

        def __init__(self, place: Place) -> None:
            super().__init__()
            self.place = place

    def __init__(self, layer_map: LayerMap, view: View) -> None:
        super().__init__()
        self._map = layer_map
        self.view = view
        self._arrangement = Arrangement(1, 1, 1, False, False, 0, 0, 0)
        self._width = 1
        self._lines: list[Line] = []
        self._legend: Lines = []
        self._legend_key: object = None
        self._top = 0

    def arranged(self, arrangement: Arrangement, width: int) -> None:
        """Take new sizes, before the widget has its own: `width` is the screen's. The cursor stays in view."""
        self._arrangement, self._width = arrangement, width
        self._lines = lines_of(self._map, small=arrangement.small, headings=arrangement.headings)
        self.styles.height = 1 + arrangement.rows + arrangement.legend_height
        self.look(replace(self.view, pitch=arrangement.pitch, shown=arrangement.shown))

    def look(self, view: View) -> None:
        """Draw as `view` says, scrolled so that its place is visible."""
        labels = [line.spec.label for line in self._lines if isinstance(line, MapRow)]
        place = view.place
        if labels and place.row not in labels:
            place = Place(labels[-1], place.column)  # its row was hidden
        shown = view.shown
        first = min(max(view.first, place.column - shown + 1), place.column)
        first = max(0, min(first, self._map.columns - shown))
        moved = place != self.view.place
        self.view = replace(view, place=place, first=first)
        self._draw_legend()
        self._follow()
        self.refresh()
        if moved:
            self.post_message(self.Moved(place))

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

    def _follow(self) -> None:
        """Scroll the rows so that the cursor's is in view, and its heading where that costs nothing."""
        index = self._index()
        rows = self._arrangement.rows
        self._top = max(index - rows + 1, min(self._top, index))
        if index == 1 and not isinstance(self._lines[0], MapRow):
            self._top = 0
        self._top = max(0, min(self._top, len(self._lines) - rows))

    def _index(self) -> int:
        for index, line in enumerate(self._lines):
            if isinstance(line, MapRow) and line.spec.label == self.view.place.row:
                return index
        return 0

    # Drawing.

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        return self.strip_of(self._line(y, width), width, base)

    def _line(self, y: int, width: int) -> Content:
        rows, legend_width = self._arrangement.rows, self._arrangement.legend_width
        if y > rows:
            line = y - rows - 1
            return self._legend[line] if line < len(self._legend) and not legend_width else Content("")
        if y == 0:
            line = axis_line(self._map, self.view)
        else:
            index = self._top + y - 1
            row = self._lines[index] if index < len(self._lines) else ""
            line = heading_line(row) if isinstance(row, str) else row_line(row, self._map, self.view)
        if not legend_width:
            return line.truncate(width)
        start = MARGIN + self._arrangement.shown * self._arrangement.pitch + 2
        legend = self._legend[y] if y < len(self._legend) else Content("")
        return Content.assemble(line.truncate(start - 1).truncate(start, pad=True), legend)

    # The cursor.

    def go(self, place: Place) -> None:
        if place != self.view.place:
            self.look(replace(self.view, place=place))

    def action_move(self, rows: int, columns: int) -> None:
        labels = [line.spec.label for line in self._lines if isinstance(line, MapRow)]
        row = labels.index(self.view.place.row) if self.view.place.row in labels else 0
        row = max(0, min(len(labels) - 1, row + rows))
        self.go(Place(labels[row], self._column(labels[row], columns)))

    def _column(self, label: str, step: int) -> int:
        """The column `step` further; in the row of the ends, where most are empty, the next that is not."""
        here, last = self.view.place.column, self._map.columns - 1
        column = max(0, min(last, here + step))
        row = self._map.by_label[label]
        if step and row.spec.group == "ends":
            while row.cells[column] is None:
                if not 0 <= column + step <= last:
                    return here
                column += step
        return column

    def action_column(self, column: int) -> None:
        self.go(Place(self.view.place.row, column % self._map.columns))

    def action_row(self, row: int) -> None:
        labels = [line.spec.label for line in self._lines if isinstance(line, MapRow)]
        self.go(Place(labels[row], self.view.place.column))

    def on_click(self, event: Click) -> None:
        index = self._top + event.y - 1
        column = self.view.first + (event.x - MARGIN) // self.view.pitch
        inside = 0 < event.y <= self._arrangement.rows and index < len(self._lines) and event.x >= MARGIN
        line = self._lines[index] if inside else ""
        if isinstance(line, MapRow) and column < min(self.view.first + self.view.shown, self._map.columns):
            self.go(Place(line.spec.label, column))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_move(1, 0)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_move(-1, 0)
