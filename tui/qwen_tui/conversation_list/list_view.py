"""The list of conversations as a widget: the rows of lines.py, and more of them where the cursor nears their end."""

import time
from collections.abc import Callable, Sequence

from textual.content import Content
from textual.events import Click
from textual.geometry import Offset
from textual.message import Message

from qwen_tui.conversation_list.lines import Entry, Key, Look, Row, grouped, height_of, key_of, row_lines, title_cells
from qwen_tui.store import ConversationSummary
from qwen_tui.widgets.cursor_list import CursorList, Heading

ROOMY = 14  # rows, from which on blank lines part the groups


class ConversationList(CursorList[Entry]):
    """Rows of one or two lines. The field above it has the focus and walks it."""

    class Wanted(Message):
        """The end of what is loaded is near, or was asked for."""

        def __init__(self, everything: bool) -> None:
            super().__init__()
            self.everything = everything

    def __init__(self, now: Callable[[], float] = time.time, current: int | None = None) -> None:
        super().__init__()
        self._now = now
        self._current = current
        self._edge = 0  # the last row of those that there may be more of
        self._look = Look(now(), current=current)
        self._message = ""

    @property
    def place_of_row(self) -> Offset:
        """Where on the screen the first line of the cursor's row is."""
        start = self._starts[self._cursor] if self._starts else 0
        return self.region.offset + Offset(0, start - self._top)

    def show(self, rows: Sequence[Row], query: str, message: str = "", key: Key | None = None) -> None:
        """These rows; `message` where there are none. The cursor stays on what it is on, or goes to `key`."""
        here = key or (None if self.row is None else key_of(self.row))
        title = title_cells(rows)
        if not query.strip():
            rows = grouped(rows, self._now(), blank=self.size.height >= ROOMY)
        self._edge = max((n for n, row in enumerate(rows) if isinstance(row, ConversationSummary)), default=0)
        keys = {key_of(row): number for number, row in enumerate(rows) if not isinstance(row, Heading)}
        self._look = Look(self._now(), query.strip(), self._current, title)
        self._message = message
        self.fill(rows, keys.get(here, self._cursor) if here else self._cursor)

    def to_end(self) -> None:
        self.place(len(self._rows) - 1)

    def height_of(self, row: Row) -> int:
        return height_of(row)

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        return row_lines(self._rows[number], width, self._look, cursor=cursor)[part]

    def other_line(self, y: int, width: int) -> Content:
        return Content.styled(f" {self._message}" if y == 1 and not self._rows else "", "$muted")

    def go(self, number: int) -> None:
        super().go(number)
        if self._cursor + 2 * self.size.height > self._edge:
            self.post_message(self.Wanted(everything=False))

    def action_row(self, row: int) -> None:
        """To the last of all: what is not loaded yet is asked for."""
        super().action_row(row)
        if row < 0:
            self.post_message(self.Wanted(everything=True))

    def on_click(self, event: Click) -> None:
        if event.chain == 2 and (found := self.at(event.y)) is not None and found[0] == self._cursor:
            self.call_later(self.run_action, "screen.open")
