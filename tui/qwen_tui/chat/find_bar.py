"""One line above the composer to find text in the conversation."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from qwen_tui.text.safe import typed
from qwen_tui.widgets.key_order import OneLine


class FindInput(OneLine):
    """The field. Its own meaning of Ctrl+F, a word to the right, gives way to that of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down,ctrl+f", "screen.find_step(1)", "Next match", show=False, id="find_next"),
        Binding("shift+enter,up", "screen.find_step(-1)", "Match before", show=False, id="find_previous"),
        Binding("escape", "screen.find_close", "Close the search", show=False, id="find_close"),
    ]


class FindBar(Horizontal):
    """Asks the screen for matches as the person writes; the screen finds, moves and says how many there are."""

    DEFAULT_CSS = """
    FindBar { height: 1; padding: 0 1; background: $surface; }
    FindBar > .name { width: auto; color: $primary; text-style: bold; padding: 0 1 0 0; }
    FindBar > FindInput, FindBar > FindInput:focus {
        width: 1fr; height: 1; border: none; padding: 0; background: transparent; color: $foreground;
    }
    FindBar > .count { width: auto; color: $muted; padding: 0 0 0 1; }
    """

    class Changed(Message):
        """Something else is looked for."""

        def __init__(self, needle: str) -> None:
            super().__init__()
            self.needle = needle

    def __init__(self) -> None:
        super().__init__()
        self.field = FindInput(compact=True)
        self._count = Static(classes="count", markup=False)

    def compose(self) -> ComposeResult:
        yield Static("Find", classes="name", markup=False)
        yield self.field
        yield self._count

    @property
    def needle(self) -> str:
        return self.field.value

    def ask(self, text: str) -> None:
        """Look for `text`, as if it was written."""
        self.field.value = typed(text).replace("\n", " ").strip()
        self.field.cursor_position = len(self.field.value)

    def tell(self, place: int, count: int) -> None:
        """ "3 of 12": which match is in view, from 1."""
        if not self.needle:
            text = ""
        else:
            text = f"{place:,} of {count:,}" if count else "not found"
        self._count.update(Content(text))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))
