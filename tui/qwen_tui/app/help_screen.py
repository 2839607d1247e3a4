"""The help screen: the keys of where the person is, every slash command, and the keys that work everywhere."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from qwen_tui.composer.slash import COMMANDS
from qwen_tui.settings.key_help import KeyHelp, key_help


class HelpTable(Grid):
    """Two columns, the first as wide as its widest entry, the second wrapping."""

    DEFAULT_CSS = """
    HelpTable { grid-size: 2; grid-columns: auto 1fr; grid-rows: auto; grid-gutter: 0 2; height: auto; }
    HelpTable > Static { height: auto; }
    HelpTable > .key { width: auto; max-width: 20; color: $secondary; text-style: bold; }
    """

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        for key, meaning in self._rows:
            yield Static(key, classes="key", markup=False)
            yield Static(meaning, markup=False)


class HelpScreen(ModalScreen[None]):
    """Closes with Escape, q, Enter or a key that opens it."""

    CSS_PATH = "help_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1,ctrl+g", "dismiss", "Close", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
    ]

    def __init__(self, keys: KeyHelp | None = None) -> None:
        """`keys`: what to tell; None takes those of the screen that is on top while this one is made."""
        super().__init__()
        self._keys = key_help(self.app.screen) if keys is None else keys

    def compose(self) -> ComposeResult:
        # The box itself scrolls: one inside it would grow past the box's greatest height instead.
        with VerticalScroll(id="help", can_focus=True):
            yield from self._section(f"Keys {self._keys.place}", self._keys.keys)
            yield from self._section("Commands", [(command.usage, command.help) for command in COMMANDS])
            yield from self._section("Keys everywhere", self._keys.general)
            yield Static(
                "A text that begins with / is sent when it is typed with //. Text is selected with the mouse.",
                classes="foot",
                markup=False,
            )

    def _section(self, heading: str, rows: Sequence[tuple[str, str]]) -> ComposeResult:
        if rows:
            yield Static(heading, classes="heading", markup=False)
            yield HelpTable(rows)

    def on_mount(self) -> None:
        self.query_one("#help").border_title = "Help"
        self.query_one("#help").border_subtitle = "Esc closes"

    def action_move(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
