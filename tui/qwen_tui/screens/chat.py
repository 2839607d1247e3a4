"""The chat screen: header, transcript, composer, status. It draws the conversation and passes on what the person does.

What a key or a text means for the engine is decided in app.py; the state drawn is conversation.py's.
"""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.css.query import NoMatches
from textual.events import Key, Resize
from textual.message import Message
from textual.screen import Screen
from textual.widget import MountError

from qwen_tui.conversation import Conversation
from qwen_tui.meters import take_snapshot
from qwen_tui.widgets.answer import Answer
from qwen_tui.widgets.composer import Composer, Editor
from qwen_tui.widgets.header import Header
from qwen_tui.widgets.panel import FROM_COLUMNS, LEAST_COLUMNS, Panel
from qwen_tui.widgets.status import Status
from qwen_tui.widgets.transcript import Transcript

DRAW_INTERVAL = 0.09  # seconds between drawings while text streams: about 11 a second


class ChatScreen(Screen[None]):
    """One conversation. Its style, chat.tcss, is loaded by the app: the toolkit loads none for a first screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "toggle_folds", "Open or fold reasoning", show=False),
        Binding("f4,ctrl+o", "toggle_panel", "Show or hide the meters", show=False),
    ]

    class Entered(Message):
        """The person pressed Enter on a text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, conversation: Conversation, pending: str) -> None:
        super().__init__()
        self.conversation = conversation
        self.pending = pending
        self.draw_due = False  # a drawing was asked for and has not begun
        self._folds_open = False
        self._panel_asked: bool | None = None  # what the person chose; None: by the width of the terminal

    def compose(self) -> ComposeResult:
        yield Header(self.pending)
        with Horizontal(id="body"):
            yield Transcript(self.pending)
            yield Panel()
        yield Composer()
        yield Status()

    def on_mount(self) -> None:
        self.editor.focus()

    @property
    def editor(self) -> Editor:
        return self.query_one(Composer).editor

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    @property
    def panel(self) -> Panel:
        return self.query_one(Panel)

    @property
    def status(self) -> Status:
        return self.query_one(Status)

    # Drawing.

    def request_draw(self) -> None:
        """Draw soon; calls in between are one drawing."""
        if not self.draw_due:
            self.draw_due = True
            self.set_timer(DRAW_INTERVAL, self.draw)

    async def draw(self) -> None:
        """Bring every widget up to the conversation."""
        self.draw_due = False
        conversation = self.conversation
        try:
            self.query_one(Header).show(conversation.model, conversation.phase)
            self.status.show(conversation)
            self.panel.show(take_snapshot(conversation))
            await self.transcript.sync(conversation)
        except (NoMatches, MountError):
            if self.app.is_running:
                raise  # else: leaving took the widgets away in the middle of the drawing

    # The meters.

    def on_resize(self, event: Resize) -> None:
        self._place_panel(event.size.width)

    def _place_panel(self, columns: int) -> None:
        wanted = columns >= FROM_COLUMNS if self._panel_asked is None else self._panel_asked
        self.panel.display = wanted and columns >= LEAST_COLUMNS
        self.panel.show(take_snapshot(self.conversation))

    def action_toggle_panel(self) -> None:
        self._panel_asked = not self.panel.display
        self._place_panel(self.size.width)
        if self._panel_asked and not self.panel.display:
            self.status.flash(f"The meters need {LEAST_COLUMNS} columns; this terminal has {self.size.width}.")

    # The person.

    @on(Editor.Submitted)
    def _submitted(self, event: Editor.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(event.text))

    def take_draft(self) -> None:
        """The text was taken: remember it, empty the composer, follow the end again."""
        self.editor.recall.add(self.editor.text)
        self.editor.set_text("")
        self.transcript.follow()

    def offer_draft(self, text: str) -> None:
        """Put `text` into the composer unless the person is writing something there."""
        if not self.editor.text.strip():
            self.editor.set_text(text)

    def on_key(self, event: Key) -> None:
        """Writing goes to the composer wherever the focus is."""
        if event.is_printable and event.character and self.focused is not self.editor:
            event.stop()
            self.editor.focus()
            self.editor.insert_typed(event.character)

    @on(Answer.LinkChosen)
    def _link(self, event: Answer.LinkChosen) -> None:
        self.app.copy_to_clipboard(event.address)
        self.status.flash(f"copied, not opened: {event.address}")

    async def action_toggle_folds(self) -> None:
        self._folds_open = not self._folds_open
        await self.transcript.turn_folds(self._folds_open)

    def action_scroll_transcript(self, pages: int) -> None:
        height = max(1, self.transcript.content_size.height - 2)
        self.transcript.scroll_relative(y=pages * height, animate=False)

    def action_transcript_home(self) -> None:
        self.transcript.scroll_home(animate=False)

    def action_transcript_end(self) -> None:
        self.transcript.follow()
