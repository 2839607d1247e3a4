"""Where the person writes: several lines, Enter sends, earlier inputs come back with the arrows."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Static, TextArea

from qwen_tui.text import typed

MAX_HISTORY = 500


class History:
    """Earlier inputs, newest last, and the draft that was being written when the person went looking."""

    def __init__(self) -> None:
        self._entries: list[str] = []
        self._position: int | None = None
        self._draft = ""

    def add(self, text: str) -> None:
        if not self._entries or self._entries[-1] != text:
            self._entries = [*self._entries[-MAX_HISTORY + 1 :], text]
        self._position = None

    def older(self, current: str) -> str | None:
        """The entry before the one shown, or None at the oldest."""
        if not self._entries:
            return None
        if self._position is None:
            self._draft = current
            self._position = len(self._entries)
        if self._position == 0:
            return None
        self._position -= 1
        return self._entries[self._position]

    def newer(self) -> str | None:
        """The entry after the one shown, at the end the draft, or None when nothing was recalled."""
        if self._position is None:
            return None
        self._position += 1
        if self._position >= len(self._entries):
            self._position = None
            return self._draft
        return self._entries[self._position]


class Editor(TextArea):
    """The text field of the composer."""

    DEFAULT_CSS = """
    Editor, Editor:focus {
        height: auto; max-height: 8; border: none; padding: 0; background: transparent;
        scrollbar-size-vertical: 1;
    }
    Editor .text-area--placeholder { color: $muted; }
    Editor:dark .text-area--cursor { color: $background; background: $primary; }
    Editor:light .text-area--cursor { color: $background; background: $primary; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "Newline", show=False),
        Binding("pageup", "screen.scroll_transcript(-1)", "Scroll up", show=False),
        Binding("pagedown", "screen.scroll_transcript(1)", "Scroll down", show=False),
        Binding("ctrl+home", "screen.transcript_home", "First line", show=False),
        Binding("ctrl+end", "screen.transcript_end", "Last line", show=False),
    ]

    class Submitted(Message):
        """Enter was pressed. Whoever takes the text clears the editor; until then it stays."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(compact=True, highlight_cursor_line=False, placeholder="ask anything", show_line_numbers=False)
        self.recall = History()

    def on_key(self, event: Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Submitted(self.text))

    def on_paste(self, event: Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_typed(event.text)

    def action_paste(self) -> None:
        self.insert_typed(self.app.clipboard)

    def insert_typed(self, text: str) -> None:
        """Insert at the cursor, replacing a selection, without the control characters a paste may carry."""
        if text := typed(text):
            self.move_cursor(self.replace(text, *self.selection, maintain_selection_offset=False).end_location)

    def action_newline(self) -> None:
        self.insert_typed("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.get_cursor_up_location()[0] == 0 and self._on_first_row():
            self._recall(self.recall.older(self.text))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self._on_last_row():
            self._recall(self.recall.newer())
        else:
            super().action_cursor_down(select)

    def _on_first_row(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y == 0

    def _on_last_row(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y >= self.wrapped_document.height - 1

    def _recall(self, text: str | None) -> None:
        if text is not None:
            self.set_text(text)

    def set_text(self, text: str) -> None:
        """Replace everything, the cursor at the end."""
        self.text = text
        self.move_cursor(self.document.end)


class Composer(Horizontal):
    """The editor and its prompt sign."""

    DEFAULT_CSS = """
    Composer { height: auto; max-height: 10; border-top: solid $panel; border-bottom: solid $panel; padding: 0 1; }
    Composer:focus-within { border-top: solid $panel; }
    Composer > .prompt { width: 2; height: 1; color: $primary; text-style: bold; }
    """

    def compose(self) -> ComposeResult:
        yield Static("›", classes="prompt", markup=False)
        yield Editor()

    @property
    def editor(self) -> Editor:
        return self.query_one(Editor)
