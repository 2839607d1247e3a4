"""The help screen: the keys of where the person is, in the chat the commands too, and the keys that work everywhere."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from qwen_tui.app.help_text import HelpText, Section
from qwen_tui.chat.panel_lines import MEANINGS
from qwen_tui.composer.slash import COMMANDS
from qwen_tui.settings.key_help import KeyHelp, key_help

IN_THE_CHAT = "in the chat"
FOOT = "Text is selected with the mouse."
FOOT_OF_COMMANDS = "A text that begins with / is sent when it is typed with //."


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
        # Commands can be typed in the chat alone.
        commands = COMMANDS if self._keys.place == IN_THE_CHAT else ()
        sections = (
            Section(f"Keys {self._keys.place}", self._keys.keys),
            Section("Commands", tuple((command.usage, command.help) for command in commands)),
            Section("Keys everywhere", self._keys.general),
            Section("Meters (F4)", MEANINGS if commands else ()),
        )
        # The box itself scrolls: one inside it would grow past the box's greatest height instead.
        with VerticalScroll(id="help", can_focus=True):
            foot = f"{FOOT_OF_COMMANDS} {FOOT}" if commands else FOOT
            yield HelpText([section for section in sections if section.rows], foot)

    def on_mount(self) -> None:
        box = self.query_one("#help")
        box.border_title, box.border_subtitle = Content("Help"), Content("Esc closes")

    def action_move(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
