"""The list of settings as a widget: the rows of rows.py."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.rows import Counts, Row, Setting, row_line
from qwen_tui.widgets.cursor_list import CursorList


class SettingList(CursorList[Setting]):
    """One line a row. What the keys do to a setting is the screen's business."""

    WHEEL = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.edit", "Edit", tooltip="change it: the next value, a text, or a key", show=False),
        Binding("left", "screen.turn(-1)", "Value before", show=False),
        Binding("right,space", "screen.turn(1)", "Next value", show=False),
        Binding("backspace,delete", "screen.reset", "Back to the default, or to not set", show=False),
        Binding("ctrl+s", "screen.keep", "Save what counts for now", show=False),
        Binding("slash", "screen.filter", "Filter by name or explanation", show=False),
        Binding("q", "screen.leave", "Back", show=False),
    ]

    def __init__(self, loaded: LoadedSettings) -> None:
        super().__init__()
        self._loaded = loaded
        self._counts: Counts = {}

    def show(self, rows: Sequence[Row], loaded: LoadedSettings, counts: Counts) -> None:
        """These rows with these values. The cursor stays on its setting, or goes to the first."""
        here = self.row
        self._loaded, self._counts = loaded, counts
        self.fill(rows, next((number for number, row in enumerate(rows) if row == here), 0))

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        return row_line(self._rows[number], self._loaded, width, cursor=cursor, counts=self._counts)

    def other_line(self, y: int, width: int) -> Content:
        return Content.styled(" Nothing matches." if y == 0 and not self._rows else "", "$muted")
