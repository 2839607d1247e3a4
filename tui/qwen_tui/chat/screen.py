"""The chat screen: header, transcript, composer, status. It draws the conversation and passes on what the person does.

What a key or a text means for the engine is decided in app.py; the state drawn is conversation.py's.
"""

import gc
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.css.query import NoMatches
from textual.events import DescendantFocus, Key, Resize
from textual.message import Message
from textual.screen import Screen
from textual.widget import MountError
from textual.widgets import Static

from qwen_tui.chat.find_bar import FindBar
from qwen_tui.chat.finding import Match, find_matches, nearest
from qwen_tui.chat.meters import take_snapshot
from qwen_tui.chat.panel import FROM_COLUMNS, LEAST_COLUMNS, Panel
from qwen_tui.chat.transcript import Transcript
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.chat.welcome import EXAMPLES
from qwen_tui.composer.composer import Composer
from qwen_tui.composer.editor import ASK, Editor
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.conversation.turns import Turn
from qwen_tui.settings.tree import SidePanel
from qwen_tui.text.safe import one_line, visible
from qwen_tui.widgets.draw_pace import DrawPace
from qwen_tui.widgets.header import Header
from qwen_tui.widgets.partial_paint import PartialCompositor
from qwen_tui.widgets.status import Place, Status
from qwen_tui.widgets.text_lines import TextLines

# What the empty composer says: nothing is to be asked where nothing can answer.
PLACEHOLDERS = {"no model": "no model is loaded", "engine down": "the engine has ended"}
NO_ROOM = f"The meters need {LEAST_COLUMNS} columns"


def freeze_heap() -> None:
    """What was made at the start is there to stay: have full garbage collections leave it out.

    While text streams there is one every few seconds, and each held up the keys for some 50 ms.
    """
    gc.collect()
    gc.freeze()


class ChatScreen(Screen[None]):
    """One conversation. The app loads its style, screen.tcss: the toolkit loads none for a first screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "toggle_folds", "Open or fold reasoning", show=False, id="folds"),
        Binding("f4,ctrl+o", "toggle_panel", "Show or hide the meters", show=False, id="meters"),
        Binding("f8,ctrl+b", "mark_drafts", "Underline what drafts said", show=False, id="marks"),
        Binding("f12", "lens", "How sure the model was, token by token", show=False, id="lens"),
        Binding("ctrl+f", "find", "Find in this conversation", show=False, id="find"),
        Binding("ctrl+up,alt+up", "jump(-1)", "The turn before", show=False, id="previous"),
        Binding("ctrl+down,alt+down", "jump(1)", "The next turn", show=False, id="next"),
        # The composer has these as well; here they work from a turn and from the search.
        Binding("pageup", "scroll_transcript(-1)", "Scroll up", show=False),
        Binding("pagedown", "scroll_transcript(1)", "Scroll down", show=False),
        Binding("ctrl+home", "transcript_home", "First line", show=False),
        Binding("ctrl+end", "transcript_end", "Last line", show=False),
        Binding("tab", "walk", "", show=False),
        Binding("escape", "leave", "Close what is open above the composer", show=False, id="leave"),
    ]

    class Entered(Message):
        """The person pressed Enter on a text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class PanelAsked(Message):
        """The meters are to be shown or hidden; `as_auto`: as the width of the terminal alone would have it."""

        def __init__(self, shown: bool, *, as_auto: bool) -> None:
            super().__init__()
            self.shown = shown
            self.as_auto = as_auto

    class BannerLeft(Message):
        """Esc was pressed while a banner stood above the composer."""

    def __init__(self, conversation: Conversation, pending: str) -> None:
        super().__init__()
        self._compositor = PartialCompositor()
        self.conversation = conversation
        self.draw_due = False  # a drawing was asked for and has not begun
        self._pace = DrawPace()
        self._folds_open = False
        self._panel_asked: bool | None = None  # what the person chose; None: by the width of the terminal
        # Kept here, for what still arrives while leaving takes the widgets off the screen.
        self._header = Header(pending)
        self.transcript = Transcript(pending)
        self.panel = Panel()
        self.composer = Composer()
        self.status = Status()
        self._banner = Static(id="banner", markup=False)
        self._find_bar = FindBar()
        self._banner.display = self._find_bar.display = False
        self._found: Match | None = None

    def compose(self) -> ComposeResult:
        yield self._header
        with Horizontal(id="body"):
            yield self.transcript
            yield self.panel
        yield self._find_bar
        yield self._banner
        yield self.composer
        yield self.status

    def on_mount(self) -> None:
        self.editor.focus()
        self._pace = DrawPace.for_app(is_headless=self.app.is_headless)
        if not self.app.is_headless:  # else many apps share one process, each of which is garbage at its end
            self.call_after_refresh(freeze_heap)

    @property
    def editor(self) -> Editor:
        return self.composer.editor

    # Drawing.

    def request_draw(self) -> None:
        """Draw as soon as the pace allows; calls in between are one drawing."""
        if not self.draw_due:
            self.draw_due = True
            self._pace.call(self, self.draw)

    async def draw(self) -> None:
        """Bring every widget up to the conversation."""
        self.draw_due = False
        self._pace.began()
        conversation = self.conversation
        try:
            self._header.show(conversation.model, conversation.phase)
            self._draw_status()
            self.editor.placeholder = PLACEHOLDERS.get(conversation.engine, ASK)
            self.panel.show(take_snapshot(conversation))
            await self.transcript.sync(conversation)
        except (NoMatches, MountError):
            if self.app.is_running:
                raise  # else: leaving took the widgets away in the middle of the drawing

    @on(Transcript.FollowChanged)
    def _draw_status(self) -> None:
        waiting = self._banner.display and self.conversation.current is not None
        self.status.show(self.conversation, following=self.transcript.following, waiting=waiting)

    @on(DescendantFocus)
    def _focus_moved(self) -> None:
        place: Place = "composer"
        if self._focused_turn() is not None:
            place = "turn"
        elif self.focused is self._find_bar.field:
            place = "find"
        self.status.hint_at(place)

    # The meters.

    def on_resize(self, event: Resize) -> None:
        self._place_panel(event.size.width)

    def _place_panel(self, columns: int) -> None:
        wanted = columns >= FROM_COLUMNS if self._panel_asked is None else self._panel_asked
        self.panel.display = wanted and columns >= LEAST_COLUMNS
        self.panel.show(take_snapshot(self.conversation))
        if self.panel.display and self.status.flash_text.startswith(NO_ROOM):
            self.status.clear_flash()

    def want_panel(self, wanted: SidePanel) -> None:
        """Whether the meters are shown, as the settings have it: "auto" goes by the width of the terminal."""
        self._panel_asked = {"on": True, "off": False}.get(wanted)
        self._place_panel(self.size.width)

    def action_toggle_panel(self) -> None:
        columns, wanted = self.size.width, not self.panel.display
        if wanted and columns < LEAST_COLUMNS:
            self._panel_asked = True
            self.status.flash(f"{NO_ROOM}; this terminal has {columns}.")
        else:
            self.post_message(self.PanelAsked(wanted, as_auto=wanted == (columns >= FROM_COLUMNS)))

    # The composer.

    @on(Editor.Submitted)
    def _submitted(self, event: Editor.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(event.text))

    def take_draft(self, sent: str) -> None:
        """The composer's text was sent: remember it, take it out of there, follow the end again."""
        self.editor.take(sent)
        self.transcript.follow()

    def offer_draft(self, text: str) -> None:
        """Put `text` into the composer unless the person is writing something there."""
        if not self.editor.text.strip():
            self.editor.set_text(text)

    def write(self, text: str) -> None:
        """Put `text` into the composer, to be written on there; what was in it comes back with the up key."""
        self.editor.recall.add(self.editor.draft())
        self.editor.set_text("")
        self.editor.focus()
        self.editor.insert_typed(text)

    def composer_banner(self, text: str | None) -> None:
        """One line above the composer that says what it is used for now; None takes it away. Esc posts BannerLeft."""
        self._banner.display = text is not None
        self._banner.update(Content(visible(text or "")))
        self._draw_status()

    def on_key(self, event: Key) -> None:
        """Typing goes to the composer wherever the focus is, but for letters that are keys there."""
        if event.is_printable and event.character and self.focused is not self.editor:
            active = self.active_bindings.get(event.key)
            if active is not None and active.enabled and active.node is not self.app:
                return
            event.stop()
            self.editor.focus()
            self.editor.insert_typed(event.character)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of what is not open are free for others: Esc to stop, letters to write."""
        if action == "leave":
            return self._find_bar.display or self._banner.display
        return action not in ("find_step", "find_close") or self._find_bar.display

    def action_leave(self) -> None:
        if self._find_bar.display:
            self.action_find_close()
        else:
            self.post_message(self.BannerLeft())

    # The transcript.

    @on(TextLines.LinkChosen)
    def _link(self, event: TextLines.LinkChosen) -> None:
        self.app.copy_to_clipboard(event.address)
        self.status.flash(f"Copied, not opened: {event.address}")

    async def action_toggle_folds(self) -> None:
        self._folds_open = not self._folds_open
        self.transcript.turn_folds(self._folds_open)

    async def action_mark_drafts(self) -> None:
        marks = not self.transcript.marks_drafts
        await self.transcript.mark_drafts(marks)
        there = any(turn.drafted for turn in self.conversation.turns)
        said = "What accepted drafts said is underlined." if there else "What drafts say from now on is underlined."
        said = said if marks else "The marks of drafts are off."
        self.status.flash(said)

    def action_scroll_transcript(self, pages: int) -> None:
        height = max(1, self.transcript.content_size.height - 2)
        self.transcript.scroll_relative(y=pages * height, animate=False)

    async def action_transcript_home(self) -> None:
        await self.transcript.go_home()

    def action_transcript_end(self) -> None:
        self.transcript.follow()

    # Turns.

    def action_lens(self) -> None:
        self.post_message(TurnView.Asked(self._focused_turn(), "lens"))

    def focus_turn(self, turn: Turn) -> None:
        """Bring a turn into view and give it the focus, as soon as it can be."""
        self.call_later(self._focus_turn, turn)

    async def _focus_turn(self, turn: Turn) -> None:
        await self.draw()
        view = await self.transcript.go_to(turn)
        if view is not None:
            view.focus(scroll_visible=False)

    def _focused_turn(self) -> Turn | None:
        nodes = self.focused.ancestors_with_self if self.focused is not None else ()
        return next((node.item for node in nodes if isinstance(node, TurnView)), None)

    async def action_jump(self, step: int) -> None:
        """From turn to turn; from the composer to what is in view; after the last turn comes the composer."""
        turns = self.conversation.turns
        here = self._focused_turn()
        seen = self.transcript.first_in_view()
        if not turns:
            return
        if here is not None and any(turn is here for turn in turns):
            place = _place_of(here, turns) + step
        elif self.transcript.following or seen is None:
            place = len(turns) - (step < 0)
        else:
            place = _place_of(seen, turns)
        if place < len(turns):
            await self._focus_turn(turns[max(0, place)])
        else:
            self.editor.focus()
            self.transcript.follow()

    async def action_walk(self) -> None:
        """Tab: from the composer to the turn in view or the last one, else on; before the first turn, an example."""
        if self.focused is self.editor and self.conversation.turns:
            await self.action_jump(-1)
        elif self.focused is self.editor:
            self._offer_example()
        else:
            self.focus_next()

    def _offer_example(self) -> None:
        """The next example of a question, unless something of the person's own is written."""
        written = self.editor.text
        if not written.strip() or written in EXAMPLES:
            place = EXAMPLES.index(written) + 1 if written in EXAMPLES else 0
            self.editor.set_text(EXAMPLES[place % len(EXAMPLES)])

    def action_leave_turn(self) -> None:
        self.editor.focus()
        if self._find_bar.display:
            self.action_find_close()

    # Finding.

    def find(self, text: str = "") -> None:
        """Open the search, for `text` if there is any."""
        self._find_bar.display = True
        self._find_bar.field.focus()
        if text:
            self._find_bar.ask(text)
        else:
            self._find_bar.field.select_all()

    def action_find(self) -> None:
        self.find(one_line(self.get_selected_text() or "", 80))

    @on(FindBar.Changed)
    async def _needle_changed(self, event: FindBar.Changed) -> None:
        turns = self.conversation.turns
        matches = find_matches(turns, event.needle)
        seen = self.transcript.first_in_view()
        await self._show_match(matches, nearest(matches, self._found, _place_of(seen, turns)))

    async def action_find_step(self, step: int) -> None:
        """The next match or the one before, round the ends. What has been said meanwhile is searched as well."""
        matches = find_matches(self.conversation.turns, self._find_bar.needle)
        if matches:
            await self._show_match(matches, (nearest(matches, self._found, 0) + step) % len(matches))

    async def _show_match(self, matches: list[Match], index: int) -> None:
        match = self._found = matches[index] if matches else None
        self._find_bar.tell(index + 1, len(matches))
        self.transcript.mark(self._find_bar.needle, match.turn if match is not None else None)
        if match is None:
            return
        on_turn = self._focused_turn() is not None
        view = await self.transcript.go_to(match.turn)
        if view is not None:
            view.open_for(match.part)
            if on_turn:
                view.focus(scroll_visible=False)
            self.transcript.seek(view, lambda: view.hit(match.part, match.number))

    def action_find_close(self) -> None:
        self._find_bar.display = False
        self._found = None
        self.transcript.mark("", None)
        self.editor.focus()


def _place_of(turn: Turn | None, turns: list[Turn]) -> int:
    """Where a turn is, by identity; at the end if it is not there."""
    return next((place for place, other in enumerate(turns) if other is turn), len(turns))
