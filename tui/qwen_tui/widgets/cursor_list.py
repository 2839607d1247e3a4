"""A list with a cursor: rows of one line or more, headings between them, as many in view as there is room for.

A list of its own, because a widget for each row would make a thousand rows slow to open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.strip import Strip
from textual.style import Style

from qwen_tui.widgets.line_strips import LineStrips

CURSOR = "bold reverse $foreground on $background"
"""The style of the row that the cursor is on: reversed by the terminal, so that it is seen without colour as well."""
MARK = "▸"
"""What the first cell of that row holds, in every list."""


def selected(line: Content, width: int) -> Content:
    """`line` as the row that the cursor is on, `width` cells wide."""
    return line.truncate(width, pad=True).stylize(CURSOR)


@dataclass(frozen=True)
class Heading:
    """A line above rows that belong together; `about` says more of them. The cursor passes over it."""

    name: str
    about: str = ""


Row = TypeVar("Row")


class CursorList(LineStrips, Generic[Row], can_focus=True):
    """The cursor is on a row, never on a heading, and always in view."""

    DEFAULT_CSS = """
    CursorList { width: 1fr; height: 1fr; color: $foreground; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", tooltip="walk the list", show=False),
        Binding("down,j", "move(1)", "Down", tooltip="walk the list", show=False),
        Binding("pageup", "page(-1)", "Page up", tooltip="a page up or down", show=False),
        Binding("pagedown", "page(1)", "Page down", tooltip="a page up or down", show=False),
        Binding("home", "row(0)", "First row", tooltip="the first and the last one", show=False),
        Binding("end", "row(-1)", "Last row", tooltip="the first and the last one", show=False),
    ]
    ABOVE: ClassVar[int] = 0
    """Lines above the rows that stay where they are."""
    BELOW: ClassVar[int] = 0
    """The same below them."""
    WHEEL: ClassVar[int] = 3
    """Rows that one turn of the wheel moves the cursor."""

    class Moved(Message):
        """The person moved the cursor."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: Sequence[Row | Heading] = ()
        self._starts: list[int] = []  # the first line of each row
        self._lines: list[tuple[int, int]] = []  # (row, which of its lines), of the whole list
        self._cursor = self._top = 0

    def height_of(self, row: Row | Heading) -> int:
        """How many lines a row has."""
        return 1

    @property
    def room(self) -> int:
        """How many lines of rows are in view."""
        return max(1, self.size.height - self.ABOVE - self.BELOW)

    @property
    def cursor(self) -> int:
        """Which row the cursor is on."""
        return self._cursor

    @property
    def row(self) -> Row | None:
        """What the cursor is on."""
        row = self._rows[self._cursor] if self._cursor < len(self._rows) else None
        return None if isinstance(row, Heading) else row

    def fill(self, rows: Sequence[Row | Heading], cursor: int) -> None:
        """These rows, the cursor on that one or the next that is no heading."""
        self._rows = rows
        self._starts, self._lines = [], []
        for number, row in enumerate(rows):
            self._starts.append(len(self._lines))
            self._lines += [(number, part) for part in range(self.height_of(row))]
        self.place(cursor)

    # Drawing.

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        """Line `part` of row `number`, in `width` cells."""
        raise NotImplementedError

    def other_line(self, y: int, width: int) -> Content:
        """Line `y` of the widget where no row is."""
        return Content("")

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        found = self.at(y)
        if found is None:
            return self.strip_of(self.other_line(y, width), width, base)
        return self.strip_of(self.row_line(*found, width, cursor=found[0] == self._cursor), width, base)

    def at(self, y: int) -> tuple[int, int] | None:
        """The row on line `y` of the widget, and which of its lines that is."""
        line = self._top + y - self.ABOVE
        return self._lines[line] if self.ABOVE <= y < self.ABOVE + self.room and line < len(self._lines) else None

    # Moving.

    def place(self, number: int) -> None:
        """The cursor onto a row, or the nearest one that is no heading, and into view."""
        last = len(self._rows) - 1
        number = max(0, min(number, last))
        step = 1 if number >= self._cursor or number == 0 else -1
        while 0 <= number <= last and isinstance(self._rows[number], Heading):
            number += step
        if not 0 <= number <= last:
            number = next((n for n, row in enumerate(self._rows) if not isinstance(row, Heading)), 0)
        self._cursor = number
        self._into_view()

    def go(self, number: int) -> None:
        """The same for the person."""
        self.place(number)
        self.post_message(self.Moved())

    def _into_view(self) -> None:
        if self._rows:
            start = self._starts[self._cursor]
            end = start + self.height_of(self._rows[self._cursor])
            while start > 0 and isinstance(self._rows[self._lines[start - 1][0]], Heading):
                start -= 1  # a heading is shown with the first row below it
            self._top = max(end - self.room, min(self._top, start), 0)
        self._top = max(0, min(self._top, len(self._lines) - self.room))
        self.refresh()

    def on_resize(self) -> None:
        self._into_view()

    def action_move(self, rows: int) -> None:
        self.go(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """To the row a screen of lines away."""
        if self._rows:
            line = self._starts[self._cursor] + pages * max(1, self.room - 1)
            self.go(self._lines[max(0, min(line, len(self._lines) - 1))][0])

    def action_row(self, row: int) -> None:
        """To a row counted from the first, or, below 0, from the last."""
        self.go(row % max(1, len(self._rows)))

    def on_click(self, event: Click) -> None:
        found = self.at(event.y)
        if found is not None and not isinstance(self._rows[found[0]], Heading):
            self.go(found[0])

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_move(self.WHEEL)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_move(-self.WHEEL)
