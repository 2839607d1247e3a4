"""What changes a setting: a field for its text, and a line that takes the next key that is pressed."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Static, TextArea

from qwen_tui.text.safe import typed
from qwen_tui.widgets.key_order import act_in_order


class ValueEditor(TextArea):
    """A text of one line, or of several where `many_lines` is on. Enter hands it over and leaves it as it is."""

    DEFAULT_CSS = """
    ValueEditor, ValueEditor:focus {
        width: 1fr; height: auto; max-height: 5; border: none; padding: 0; background: $surface;
        scrollbar-size-vertical: 1;
    }
    ValueEditor .text-area--placeholder { color: $muted; }
    ValueEditor:dark .text-area--cursor { color: $background; background: $primary; }
    ValueEditor:light .text-area--cursor { color: $background; background: $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "A new line, where the value may have several", show=False)
    ]

    class Submitted(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(compact=True, highlight_cursor_line=False, show_line_numbers=False)
        self.many_lines = False

    def begin(self, text: str, many_lines: bool) -> None:
        """Offer `text` for editing, the cursor at its end."""
        self.many_lines = many_lines
        self.text = text
        self.move_cursor(self.document.end)

    async def on_key(self, event: Key) -> None:
        if event.key == "enter":
            self.post_message(self.Submitted(self.text))
        if event.key in ("enter", "tab", "shift+tab"):
            event.stop()
            event.prevent_default()
        else:
            await act_in_order(self, event)

    def on_paste(self, event: Paste) -> None:
        event.stop()
        event.prevent_default()
        self._insert(event.text)

    def action_paste(self) -> None:
        self._insert(self.app.clipboard)

    def action_newline(self) -> None:
        self._insert("\n")

    def _insert(self, text: str) -> None:
        text = typed(text)
        if not self.many_lines:
            text = text.replace("\n", " ")
        if self.many_lines or text.strip():
            self.move_cursor(self.replace(text, *self.selection, maintain_selection_offset=False).end_location)


class KeyCapture(Static, can_focus=True):
    """Takes every key but Escape as a key to bind."""

    DEFAULT_CSS = """
    KeyCapture { height: 1; width: 1fr; background: $surface; color: $foreground; }
    """

    class Pressed(Message):
        """A key."""

        def __init__(self, key: str, printable: bool) -> None:
            super().__init__()
            self.key = key
            self.printable = printable

    class Left(Message):
        """Escape."""

    def __init__(self) -> None:
        super().__init__(Content("press the new key, Esc leaves"), markup=False)

    def on_key(self, event: Key) -> None:
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.post_message(self.Left())
        else:
            self.post_message(self.Pressed(event.key, event.is_printable))
