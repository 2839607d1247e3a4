"""The list of settings as a widget: draws the rows in view of rows.py and moves the cursor over them."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.rows import Row, SectionHeading, Setting, row_pieces

_CURSOR = Style(bold=True, reverse=True)  # reversed, so that it is seen without colour as well


class SettingList(Widget, can_focus=True):
    """One line a row. What the keys do to a setting is the screen's business."""

    DEFAULT_CSS = """
    SettingList { width: 1fr; height: 1fr; color: $foreground; background: $background; }
    SettingList > .setting-list--text { color: $foreground; background: $background; }
    SettingList > .setting-list--muted { color: $muted; background: $background; }
    SettingList > .setting-list--own { color: $secondary; background: $background; text-style: bold; }
    SettingList > .setting-list--warning { color: $warning; background: $background; }
    SettingList > .setting-list--heading { color: $primary; background: $background; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "setting-list--text",
        "setting-list--muted",
        "setting-list--own",
        "setting-list--warning",
        "setting-list--heading",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", tooltip="walk the list", show=False),
        Binding("down,j", "move(1)", "Down", tooltip="walk the list", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("enter", "screen.edit", "Edit", tooltip="change it: the next value, a text, or a key", show=False),
        Binding("left", "screen.turn(-1)", "Value before", show=False),
        Binding("right,space", "screen.turn(1)", "Next value", show=False),
        Binding("backspace,delete", "screen.reset", "Back to the default, or to not set", show=False),
        Binding("slash", "screen.filter", "Filter by name or explanation", show=False),
        Binding("q", "screen.leave", "Back", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

    def __init__(self, loaded: LoadedSettings) -> None:
        super().__init__()
        self._loaded = loaded
        self._rows: list[Row] = []
        self._cursor = self._top = 0

    @property
    def row(self) -> Setting | None:
        """What the cursor is on; None where nothing matches."""
        row = self._rows[self._cursor] if self._cursor < len(self._rows) else None
        return row if isinstance(row, Setting) else None

    def show(self, rows: Sequence[Row], loaded: LoadedSettings) -> None:
        """These rows with these values. The cursor stays on its setting, or goes to the first."""
        here = self.row
        self._rows, self._loaded = list(rows), loaded
        self._go(next((number for number, row in enumerate(rows) if row == here), 0))

    def _go(self, number: int) -> None:
        """The cursor onto a row, or the nearest one that is no heading, and into view."""
        last = len(self._rows) - 1
        number = max(0, min(number, last))
        if 0 <= number <= last and isinstance(self._rows[number], SectionHeading):
            number += 1 if number >= self._cursor or number == 0 else -1
        before, self._cursor = self.row, max(0, min(number, last))
        self._into_view()
        self.refresh()
        if self.row != before:
            self.post_message(self.Moved())

    def _into_view(self) -> None:
        height = max(1, self.size.height)
        start = self._cursor
        if start > 0 and isinstance(self._rows[start - 1], SectionHeading) and height > 1:
            start -= 1
        self._top = max(self._cursor - height + 1, min(self._top, start), 0)
        self._top = max(0, min(self._top, len(self._rows) - height))

    def on_resize(self) -> None:
        self._into_view()
        self.refresh()

    # Drawing.

    def render_line(self, y: int) -> Strip:
        width, number = self.size.width, self._top + y
        if not self._rows:
            return self._strip([Segment(" Nothing matches.", self._style("muted"))] if y == 0 else [], width)
        if number >= len(self._rows):
            return self._strip([], width)
        cursor = number == self._cursor
        pieces = row_pieces(self._rows[number], self._loaded, width - 1, cursor)
        marked = self._style("text") + _CURSOR
        segments = [Segment(piece.text, marked if cursor else self._style(piece.part)) for piece in pieces]
        return self._strip([Segment(" ", segments[0].style), *segments], width, marked if cursor else None)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"setting-list--{part}")

    def _strip(self, segments: list[Segment], width: int, style: Style | None = None) -> Strip:
        return Strip(segments).adjust_cell_length(width, style or self._style("text"))

    # Moving.

    def action_move(self, rows: int) -> None:
        target = self._cursor + rows
        if 0 <= target < len(self._rows) and isinstance(self._rows[target], SectionHeading):
            target += rows
        if 0 <= target < len(self._rows):
            self._go(target)

    def action_page(self, pages: int) -> None:
        self._go(self._cursor + pages * max(1, self.size.height - 1))

    def action_first(self) -> None:
        self._top = 0
        self._go(0)

    def action_last(self) -> None:
        self._go(len(self._rows) - 1)

    def on_click(self, event: Click) -> None:
        number = self._top + event.y
        if number < len(self._rows) and isinstance(self._rows[number], Setting):
            self._go(number)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_move(-1)
