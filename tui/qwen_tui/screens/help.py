"""The help screen: every key and every slash command, from the tables that define them."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from qwen_tui.keys import KEYS, LAYER_KEYS
from qwen_tui.slash import COMMANDS


class HelpTable(Grid):
    """Two columns, the first as wide as its widest entry, the second wrapping."""

    DEFAULT_CSS = """
    HelpTable { grid-size: 2; grid-columns: auto 1fr; grid-rows: auto; grid-gutter: 0 2; height: auto; }
    HelpTable > Static { height: auto; }
    HelpTable > .key { width: auto; max-width: 20; color: $secondary; text-style: bold; }
    """

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        for key, meaning in self._rows:
            yield Static(key, classes="key", markup=False)
            yield Static(meaning, markup=False)


class HelpScreen(ModalScreen[None]):
    """Closes with Escape, q, Enter or the key that opened it."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1,ctrl+g", "dismiss", "Close", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
    ]

    def compose(self) -> ComposeResult:
        # The box itself scrolls: one inside it would grow past the box's greatest height instead.
        with VerticalScroll(id="help", can_focus=True):
            yield Static("Keys", classes="heading", markup=False)
            yield HelpTable(list(KEYS))
            yield Static("Keys of the layer map", classes="heading", markup=False)
            yield HelpTable(list(LAYER_KEYS))
            yield Static("Commands", classes="heading", markup=False)
            yield HelpTable([(command.usage, command.help) for command in COMMANDS])
            yield Static(
                "A text that begins with / is sent when it is typed with //. Text is selected with the mouse.",
                classes="foot",
                markup=False,
            )

    def on_mount(self) -> None:
        self.query_one("#help").border_title = "Help"
        self.query_one("#help").border_subtitle = "Esc closes"

    def action_move(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
