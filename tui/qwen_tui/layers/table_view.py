"""The table of modules as a widget: draws the rows in view of table.py, moves, sorts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click

from qwen_core.checkpoint.layout import Layout, ModuleLayout
from qwen_tui.layers.facts import choice_text
from qwen_tui.layers.map_text import MUTED
from qwen_tui.layers.painter import CellStyles
from qwen_tui.layers.table import ERROR, Columns, Order, column_at, columns_of, head_line, module_line, ordered
from qwen_tui.widgets.cursor_list import CursorList


class LayerTable(CursorList[ModuleLayout], CellStyles):
    """A line of titles, the rows, and what they come to."""

    ABOVE = BELOW = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "order", "Sort by the next column", show=False),
        Binding("O", "reverse", "Sort the other way round", show=False),
    ]

    class Moved(CursorList.Moved):
        """The cursor is on another module."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._columns = columns_of(layout)
        self._modules: tuple[ModuleLayout, ...] = ()
        self._ordered: Sequence[ModuleLayout] = ()
        self._order = Order()

    def show(self, modules: Iterable[ModuleLayout], here: ModuleLayout | None) -> None:
        """These modules, the cursor on `here` if it is among them."""
        self._modules = tuple(modules)
        self._sorted(here)

    def _sorted(self, here: ModuleLayout | None) -> None:
        before = self.row
        self._ordered = ordered(self._modules, self._order, self._columns)
        self.fill(self._ordered, self._ordered.index(here) if here in self._ordered else 0)
        if self.row is not None and self.row != before:
            self.post_message(self.Moved())

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        return module_line(self._ordered[number], self._layout, width, cursor, self._drawn)

    def other_line(self, y: int, width: int) -> Content:
        if y == 0:
            return head_line(self._order, width, self._drawn)
        if y == self.size.height - 1:
            return Content.styled(f" {choice_text(self._layout, self._modules, width - 1)}", MUTED)
        return Content("")

    @property
    def _drawn(self) -> Columns:
        """The columns, of which the one that sorts is there once the names are."""
        columns = list(self._columns)
        if (sorts := self._order.column) is not None:
            columns[sorts] = replace(columns[sorts], rank=min(columns[sorts].rank, 1))
        return tuple(columns)

    def by_error(self) -> bool:
        """The largest error first; whether errors are known."""
        if ERROR not in self._columns:
            return False
        self._order = Order(self._columns.index(ERROR), True)
        return True

    def action_order(self) -> None:
        self._order = self._order.next(self._columns)
        self._sorted(self.row)

    def action_reverse(self) -> None:
        self._order = Order(self._order.column, not self._order.reverse)
        self._sorted(self.row)

    def on_click(self, event: Click) -> None:
        column = column_at(event.x, self.size.width, self._drawn) if event.y == 0 else None
        if column is not None:
            self._order = self._order.by(column)
            self._sorted(self.row)
