"""The map of the context as a screen: blocks for all of it, then a row for each turn; Enter goes to that turn."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from qwen_tui.lens.context_map import Share, headline, share_facts, share_line
from qwen_tui.widgets.cursor_list import CursorList
from qwen_tui.widgets.list_status import ListKeys, ListStatus
from qwen_tui.widgets.styled_rows import Rows

NOTHING = "There is nothing in the context yet: ask something first."


class ShareList(CursorList[Share]):
    """A row for each."""

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        shares = [row for row in self._rows if isinstance(row, Share)]
        return share_line(shares[number], shares, width, cursor=cursor)

    def other_line(self, y: int, width: int) -> Content:
        return Content(NOTHING if not self._rows and y == 0 else "").truncate(width, ellipsis=True)


class ContextScreen(Screen[Share | None]):
    """Closes with what to go to, None for nowhere."""

    CSS_PATH = "context_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,m", "dismiss", "Back", show=False),
        Binding("enter", "take", "Go to the turn", show=False),
    ]

    def __init__(self, shares: Sequence[Share], limit: int | None, at: int) -> None:
        """`at`: the one that the cursor begins on."""
        super().__init__()
        self._shares = shares
        self._limit = limit
        self._at = at

    def compose(self) -> ComposeResult:
        yield Static("Context", id="title", markup=False)
        yield Rows(id="headline")
        yield ShareList()
        yield ListStatus()
        yield ListKeys()

    def on_mount(self) -> None:
        self.query_one(ShareList).fill(self._shares, self._at)
        self.query_one(ShareList).focus()
        self.query_one(ListKeys).show("Esc back", "⏎ go there", "↑ ↓ walk", "F1 keys")
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    @on(CursorList.Moved)
    def _draw(self) -> None:
        row = self.query_one(ShareList).row
        self.query_one(ListStatus).show(share_facts(row) if row is not None else [])
        self.query_one("#headline", Rows).show(headline(self._shares, self._limit, max(1, self.size.width - 2)))

    def action_take(self) -> None:
        self.dismiss(self.query_one(ShareList).row)
