"""The table of modules as a widget: draws the rows in view of table.py, moves, sorts."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.strip import Strip
from textual.style import Style

from qwen_core.checkpoint.layout import Layout, ModuleLayout
from qwen_tui.layers.facts import choice_text
from qwen_tui.layers.map_text import MUTED
from qwen_tui.layers.painter import CellStyles
from qwen_tui.layers.table import Order, column_at, head_line, module_line, ordered


class LayerTable(CellStyles, can_focus=True):
    """A line of titles, the rows, and what they come to."""

    DEFAULT_CSS = """
    LayerTable { width: 1fr; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "row(0)", "First row", show=False),
        Binding("end", "row(-1)", "Last row", show=False),
        Binding("o", "order", "Sort by the next column", show=False),
        Binding("O", "reverse", "Sort the other way round", show=False),
    ]

    class Moved(Message):
        """The cursor is on another module."""

        def __init__(self, module: ModuleLayout) -> None:
            super().__init__()
            self.module = module

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._modules: tuple[ModuleLayout, ...] = ()
        self._rows: list[ModuleLayout] = []
        self._order = Order()
        self._cursor = self._top = 0

    @property
    def module(self) -> ModuleLayout | None:
        """The one under the cursor."""
        return self._rows[self._cursor] if self._rows else None

    def show(self, modules: Iterable[ModuleLayout], here: ModuleLayout | None) -> None:
        """These modules, the cursor on `here` if it is among them."""
        self._modules = tuple(modules)
        self._sorted(here)

    def _sorted(self, here: ModuleLayout | None) -> None:
        before = self.module
        self._rows = ordered(self._modules, self._order)
        self._go(self._rows.index(here) if here in self._rows else 0, before)

    def _go(self, row: int, before: ModuleLayout | None) -> None:
        """The cursor onto a row, and into view; `before` is what it was on."""
        self._cursor = max(0, min(row, len(self._rows) - 1))
        height = max(1, self.size.height - 2)
        self._top = max(self._cursor - height + 1, min(self._top, self._cursor), 0)
        self.refresh()
        if self.module is not None and self.module != before:
            self.post_message(self.Moved(self.module))

    def on_resize(self) -> None:
        self._go(self._cursor, self.module)

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        return self.strip_of(self._line(y, width), width, base)

    def _line(self, y: int, width: int) -> Content:
        if y == 0:
            return head_line(self._order, width)
        if y == self.size.height - 1:
            return Content.styled(f" {choice_text(self._layout, self._rows)}", MUTED)
        row = self._top + y - 1
        if row >= len(self._rows):
            return Content("")
        return module_line(self._rows[row], self._layout, width, row == self._cursor)

    def action_move(self, rows: int) -> None:
        self._go(self._cursor + rows, self.module)

    def action_page(self, pages: int) -> None:
        self._go(self._cursor + pages * max(1, self.size.height - 3), self.module)

    def action_row(self, row: int) -> None:
        self._go(row % max(1, len(self._rows)), self.module)

    def action_order(self) -> None:
        self._order = self._order.next()
        self._sorted(self.module)

    def action_reverse(self) -> None:
        self._order = Order(self._order.column, not self._order.reverse)
        self._sorted(self.module)

    def on_click(self, event: Click) -> None:
        if event.y == 0:
            column = column_at(event.x, self.size.width)
            if column is not None:
                self._order = self._order.by(column)
                self._sorted(self.module)
        elif event.y < self.size.height - 1:
            self._go(self._top + event.y - 1, self.module)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)
