"""A block that opens and folds: reasoning, tool calls. Its title always says what is inside."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from qwen_tui.text.marked import Places
from qwen_tui.text.safe import visible
from qwen_tui.widgets.one_layout import OneLayout
from qwen_tui.widgets.plain_text import PlainText


class Fold(Vertical, OneLayout, can_focus=True):
    """Folded at first; Enter, Space or a click on its title turns it."""

    # A click turns it and leaves the focus where the person writes.
    FOCUS_ON_CLICK = False

    DEFAULT_CSS = """
    Fold { height: auto; margin: 0 0 1 0; }
    Fold > .title { height: 1; color: $muted; width: 1fr; }
    Fold:focus > .title { background: $surface; text-style: bold; }
    Fold > PlainText { color: $muted; padding: 0 0 0 1; border-left: vkey $panel; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "turn_over", "Open or fold", show=False, id="turn_over")
    ]

    def __init__(self, name: str, *, classes: str) -> None:
        super().__init__(classes=classes)
        self._label = name
        self._facts = ""
        self._text = ""
        self._places: Places = ()
        self.open = False
        # Held, not looked up: who leaves in the middle of a drawing leaves folds that were never composed.
        self._title = Static(classes="title", markup=False)
        self.body = PlainText()
        self.body.display = False

    def compose(self) -> ComposeResult:
        yield self._title
        yield self.body

    def on_mount(self) -> None:
        self._draw_title()

    def show(self, text: str, facts: str, name: str | None = None, places: Places = ()) -> None:
        """The text inside, with `places` underlined, and the facts beside the name. A folded body is not laid out."""
        label = name if name is not None else self._label
        if (label, facts) != (self._label, self._facts):
            self._label, self._facts = label, facts
            self._draw_title()
        self._text, self._places = text, places
        self._draw_body()

    def turn(self, open: bool) -> None:
        """Open or fold."""
        if open == self.open:
            return
        self.open = open
        self.body.display = open
        self._draw_body()
        self._draw_title()

    def _draw_body(self) -> None:
        if self.open:
            self.body.show(self._text if self._places else self._text.strip("\n"), self._places)

    def action_turn_over(self) -> None:
        self.turn(not self.open)

    @on(Click, ".title")
    def _clicked(self) -> None:
        self.turn(not self.open)

    def _draw_title(self) -> None:
        mark = "▾" if self.open else "▸"
        facts = f"  {visible(self._facts)}" if self._facts else ""
        self._title.update(Content.assemble((f"{mark} {visible(self._label)}", "$secondary"), facts), layout=False)
