"""The list of conversations as a widget: draws the lines in view of lines.py, moves the cursor, asks for more.

A list of its own, because a widget for each row would make a thousand conversations slow to open.
"""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Offset
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qwen_tui.conversation_list.lines import Entry, Heading, Key, Look, Row, height_of, key_of, row_lines
from qwen_tui.store import ConversationSummary

_CURSOR = Style(bold=True, reverse=True)  # reversed, so that it is seen without colour as well


class ConversationList(Widget, can_focus=True):
    """Rows of one or two lines. The single letters are the screen's actions: they count only while this has focus."""

    DEFAULT_CSS = """
    ConversationList { width: 1fr; height: 1fr; color: $foreground; background: $background; }
    ConversationList > .conversation-list--text { color: $foreground; background: $background; }
    ConversationList > .conversation-list--muted { color: $muted; background: $background; }
    ConversationList > .conversation-list--mark { color: $accent; background: $background; }
    ConversationList > .conversation-list--heading { color: $primary; background: $background; text-style: bold; }
    ConversationList > .conversation-list--hit { color: $accent; background: $background; text-style: bold underline; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "conversation-list--text",
        "conversation-list--muted",
        "conversation-list--mark",
        "conversation-list--heading",
        "conversation-list--hit",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "first", "The first one", show=False),
        Binding("end", "last", "The last one", show=False),
        Binding("enter", "screen.open", "Resume", show=False),
        Binding("r", "screen.rename", "Rename", show=False),
        Binding("d", "screen.delete", "Delete; u brings it back", show=False),
        Binding("u", "screen.undo", "Bring the last deleted one back", show=False),
        Binding("p", "screen.pin", "Pin", show=False),
        Binding("m", "screen.model", "Filter by model", show=False),
        Binding("x", "screen.export", "Export as Markdown", show=False),
        Binding("q", "screen.leave", "Back", show=False),
        Binding("slash", "screen.search", "Search titles and all messages", show=False),
    ]

    class Moved(Message):
        """The person moved the cursor."""

    class Wanted(Message):
        """The end of what is loaded is near, or was asked for."""

        def __init__(self, everything: bool) -> None:
            super().__init__()
            self.everything = everything

    def __init__(self, now: Callable[[], float] = time.time, current: int | None = None) -> None:
        super().__init__()
        self._now = now
        self._current = current
        self._rows: list[Row] = []
        self._starts: list[int] = []  # the first line of each row
        self._lines: list[tuple[int, int]] = []  # (row, which of its lines), of the whole list
        self._cursor = self._top = 0
        self._edge = 0  # the last row of those that there may be more of
        self._look = Look(now(), current=current)
        self._message = ""

    @property
    def row(self) -> Entry | None:
        """What the cursor is on."""
        row = self._rows[self._cursor] if self._cursor < len(self._rows) else None
        return None if isinstance(row, Heading) else row

    @property
    def place(self) -> Offset:
        """Where on the screen the first line of the cursor's row is."""
        start = self._starts[self._cursor] if self._starts else 0
        return self.region.offset + Offset(0, start - self._top)

    def show(self, rows: Sequence[Row], query: str, message: str = "", key: Key | None = None) -> None:
        """These rows; `message` where there are none. The cursor stays on what it is on, or goes to `key`."""
        here = key or (None if self.row is None else key_of(self.row))
        self._rows = list(rows)
        self._starts, self._lines = [], []
        for number, row in enumerate(self._rows):
            self._starts.append(len(self._lines))
            self._lines += [(number, part) for part in range(height_of(row))]
        self._edge = max((n for n, row in enumerate(rows) if isinstance(row, ConversationSummary)), default=0)
        keys = {key_of(row): number for number, row in enumerate(self._rows) if not isinstance(row, Heading)}
        self._look = Look(self._now(), query.strip(), self._current)
        self._message = message
        self._go(keys.get(here, self._cursor) if here else self._cursor, ask=False)

    def to_top(self) -> None:
        self._go(0, ask=False)

    def to_end(self) -> None:
        self._go(len(self._rows) - 1, ask=False)

    def _go(self, number: int, *, ask: bool = True) -> None:
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
        self.refresh()
        if ask and number + 2 * self.size.height > self._edge:
            self.post_message(self.Wanted(everything=False))

    def _into_view(self) -> None:
        height = max(1, self.size.height)
        if not self._rows:
            self._top = 0
            return
        start = self._starts[self._cursor]
        end = start + height_of(self._rows[self._cursor])
        while start > 0 and isinstance(self._rows[self._lines[start - 1][0]], Heading):
            start -= 1  # a heading is shown with the first row below it
        self._top = max(end - height, min(self._top, start), 0)
        self._top = min(self._top, max(0, len(self._lines) - height))

    def on_resize(self) -> None:
        self._into_view()
        self.refresh()

    # Drawing.

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if not self._rows:
            return self._strip([Segment(f" {self._message}", self._style("muted"))] if y == 1 else [], width)
        line = self._top + y
        if line >= len(self._lines):
            return self._strip([], width)
        number, part = self._lines[line]
        cursor = number == self._cursor
        pieces = row_lines(self._rows[number], width, self._look, cursor=cursor)[part]
        segments = []
        for piece in pieces:
            style = self._style(piece.part)
            if cursor:
                style = self._style("text") + _CURSOR + Style(underline=piece.part == "hit")
            segments.append(Segment(piece.text, style))
        return self._strip(segments, width, self._style("text") + _CURSOR if cursor else None)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"conversation-list--{part}")

    def _strip(self, segments: list[Segment], width: int, style: Style | None = None) -> Strip:
        return Strip(segments).adjust_cell_length(width, style or self._style("text"))

    # Moving.

    def _moved(self, number: int) -> None:
        self._go(number)
        self.post_message(self.Moved())

    def action_move(self, rows: int) -> None:
        self._moved(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """To the row a screen of lines away."""
        if self._rows:
            line = self._starts[self._cursor] + pages * max(1, self.size.height - 1)
            self._moved(self._lines[max(0, min(line, len(self._lines) - 1))][0])

    def action_first(self) -> None:
        self._moved(0)

    def action_last(self) -> None:
        """To the last of all: what is not loaded yet is asked for."""
        self.to_end()
        self.post_message(self.Moved())
        self.post_message(self.Wanted(everything=True))

    async def on_click(self, event: Click) -> None:
        line = self._top + event.y
        if line < len(self._lines) and not isinstance(self._rows[self._lines[line][0]], Heading):
            self._moved(self._lines[line][0])
            if event.chain == 2:
                await self.run_action("screen.open")

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)
