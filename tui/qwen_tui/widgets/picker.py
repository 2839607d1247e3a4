"""A box over the screen to choose from: a field that searches as one types, and a list that the arrows walk.

The field keeps the focus, so letters always search; what is searched and how a row looks is for those who use this.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from qwen_tui.text.safe import cells
from qwen_tui.widgets.cursor_list import CursorList, Heading
from qwen_tui.widgets.key_order import OneLine

_BOX = 4  # rows of the box beside the list: two edges, the field with its line
AROUND = _BOX + 2
"""Rows of the screen that the list leaves: those of the box, and one above and below."""
MOST = 18  # rows of the list, however many there are

Row = TypeVar("Row")
Result = TypeVar("Result")


class PickField(OneLine):
    """A field for what a list is searched by. What no text needs walks the list, which has no focus of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", tooltip="walk the list", show=False),
        Binding("down", "move(1)", "Down", tooltip="walk the list", show=False),
        Binding("pageup", "page(-1)", "Page up", tooltip="a page up or down", show=False),
        Binding("pagedown", "page(1)", "Page down", tooltip="a page up or down", show=False),
        Binding("home", "row(0)", "First row", tooltip="the first and the last one", show=False),
        Binding("end", "row(-1)", "Last row", tooltip="the first and the last one", show=False),
    ]

    def __init__(self, walked: CursorList[Any], value: str = "", **options: Any) -> None:
        super().__init__(value, select_on_focus=False, **options)
        self.cursor_blink = False  # each blink paints it again
        self._walked = walked
        walked.can_focus = False

    def action_move(self, rows: int) -> None:
        self._walked.action_move(rows)

    def action_page(self, pages: int) -> None:
        self._walked.action_page(pages)

    def action_row(self, row: int) -> None:
        self._walked.action_row(row)


class PickList(CursorList[Row]):
    """A list of which a row is taken by a click as well."""

    class Chosen(Message):
        """A row was clicked."""

    def other_line(self, y: int, width: int) -> Content:
        return Content.styled("  Nothing matches." if y == 0 and not self._rows else "", "$muted")

    def on_click(self, event: Click) -> None:
        super().on_click(event)
        found = self.at(event.y)
        if found is not None and not isinstance(self._rows[found[0]], Heading):
            self.post_message(self.Chosen())


class Picker(ModalScreen[Result | None], Generic[Row, Result]):
    """Dismissed with what was chosen, or None. Subclasses say what there is (`found`) and what a row comes to."""

    DEFAULT_CSS = """
    Picker { align: center top; background: $background 60%; }
    Picker > #box {
        width: 76; max-width: 96%; height: auto; padding: 0 1; background: $surface; border: round $primary;
        border-title-color: $primary; border-title-style: bold; border-subtitle-color: $muted;
    }
    Picker PickField, Picker PickField:focus {
        border: none; border-bottom: solid $panel; height: 2; padding: 0 0 0 2;
        background: $surface; background-tint: $surface 0%; color: $foreground;
    }
    Picker PickList { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave it as it is", show=False),
        Binding("f1,ctrl+g", "app.help", "Help", show=False),
    ]

    def __init__(self, listed: PickList[Row], title: str, hint: str, placeholder: str) -> None:
        """`hint` says what the keys do."""
        super().__init__()
        self.list = listed
        self.field = PickField(listed, placeholder=placeholder)
        self._heading, self._hint = title, hint
        self._lines = self._all = 1  # those of the rows that are found, and of all

    def found(self, text: str) -> Sequence[Row | Heading]:
        """The rows for what is in the field, the best ones first."""
        raise NotImplementedError

    def result_of(self, row: Row) -> Result | None:
        """What a row comes to when it is chosen; None where it cannot be."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield self.field
            yield self.list

    def on_mount(self) -> None:
        box = self.query_one("#box")
        box.border_title, box.border_subtitle = Content(self._heading), Content(self._hint)
        rows = self.found("")
        self._all = sum(self.list.height_of(row) for row in rows)
        self._show(rows, self.first(rows))
        self.field.focus()

    def on_resize(self, event: Resize) -> None:
        narrow = event.size.width * 96 // 100 - 6
        self.query_one("#box").border_subtitle = Content(self._hint if cells(self._hint) <= narrow else "")
        self._place()

    def _place(self) -> None:
        """As high as what is found needs; its head stays where it is with all rows in the middle, while one types."""
        height = self.app.size.height
        most = max(1, min(MOST, height - AROUND))
        self.query_one("#box").styles.margin = (max(0, height - max(1, min(self._all, most)) - _BOX) // 2, 0, 0, 0)
        self.list.styles.height = max(1, min(self._lines, most))

    def _show(self, rows: Sequence[Row | Heading], cursor: int) -> None:
        self._lines = sum(self.list.height_of(row) for row in rows)
        self._place()
        self.list.fill(rows, cursor)

    def first(self, rows: Sequence[Row | Heading]) -> int:
        """The row that the cursor begins on."""
        return 0

    def fill(self) -> None:
        """The rows again, the cursor where it was."""
        self._show(self.found(self.field.value), self.list.cursor)

    @on(Input.Changed)
    def _searched(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_current:
            rows = self.found(event.value)
            self._show(rows, 0 if event.value.strip() else self.first(rows))
            self.list.post_message(self.list.Moved())

    @on(Input.Submitted)
    @on(PickList.Chosen)
    def _taken(self, event: Message) -> None:
        event.stop()
        result = None if self.list.row is None else self.result_of(self.list.row)
        if result is not None and self.is_current:  # a second Enter comes when this screen is gone
            self.dismiss(result)

    def action_leave(self) -> None:
        self.dismiss(None)


def holds(text: str, *where: str) -> bool:
    """Whether every word of `text` is somewhere in `where`, in any case."""
    among = " ".join(where).casefold()
    return all(word in among for word in text.casefold().split())
