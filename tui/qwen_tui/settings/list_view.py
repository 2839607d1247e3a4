"""The list of settings as a widget: the rows of rows.py."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key

from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.rows import VALUE_CELLS, Counts, Row, Setting, row_line, value_cells
from qwen_tui.widgets.cursor_list import CursorList, Heading

ROOMY = 14  # rows, from which on blank lines part the groups


def parted(rows: Sequence[Row]) -> list[Row]:
    """With a blank line above every heading but the first."""
    found: list[Row] = []
    for row in rows:
        found += [*([Heading("")] if isinstance(row, Heading) and found else []), row]
    return found


class SettingList(CursorList[Setting]):
    """One line a row. What the keys do to a setting is the screen's business."""

    WHEEL = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.edit", "Edit", tooltip="change it: the next value, a text, or a key", show=False),
        Binding("left", "screen.turn(-1)", "Value before", show=False),
        Binding("right,space", "screen.turn(1)", "Next value", show=False),
        Binding("delete,backspace", "screen.reset", "Back to the default, or to not set", show=False),
        Binding("ctrl+z", "screen.undo", "Take the last change back", show=False),
        Binding("ctrl+s", "screen.keep", "Save what counts for now", show=False),
        Binding("slash", "screen.filter", "Filter by name or explanation", show=False),
        # Letters filter: these walk other lists.
        Binding("j", "screen.filter('j')", "", show=False),
        Binding("k", "screen.filter('k')", "", show=False),
    ]

    def __init__(self, loaded: LoadedSettings) -> None:
        super().__init__()
        self._loaded = loaded
        self._counts: Counts = {}
        self._values = VALUE_CELLS

    def show(self, rows: Sequence[Row], loaded: LoadedSettings, counts: Counts) -> None:
        """These rows with these values. The cursor stays on its setting, or goes to the first."""
        here = self.row
        self._loaded, self._counts = loaded, counts
        self._values = value_cells(rows, loaded, counts)
        rows = parted(rows) if self.size.height >= ROOMY else rows
        self.fill(rows, next((number for number, row in enumerate(rows) if row == here), 0))

    async def on_key(self, event: Key) -> None:
        """A letter that is no key here begins a filter."""
        if event.character and event.is_printable and event.key not in self._bindings.key_to_bindings:
            event.stop()
            self.call_later(self.run_action, f"screen.filter({event.character!r})")

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        row = self._rows[number]
        return row_line(row, self._loaded, width, cursor=cursor, counts=self._counts, values=self._values)

    def other_line(self, y: int, width: int) -> Content:
        return Content.styled(" Nothing matches." if y == 0 and not self._rows else "", "$muted")
