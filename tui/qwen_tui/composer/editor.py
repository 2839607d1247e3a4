"""The text field of the composer: several lines, Enter sends, earlier inputs come back, long pastes are short tokens.

A token of a paste is one thing: the cursor steps over it, one key deletes it, and copying it copies what was pasted.
"""

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.geometry import Offset
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea
from textual.widgets.text_area import EditResult, Location, Selection

from qwen_core.errors import QwenError
from qwen_tui.composer.external_editor import edit_externally
from qwen_tui.composer.input_history import History
from qwen_tui.composer.pastes import Pastes
from qwen_tui.store import Draft
from qwen_tui.text.safe import typed
from qwen_tui.widgets.key_order import act_in_order

DRAFT_SECONDS = 0.5  # without a change until the draft is told
ASK = "ask anything"


class Editor(TextArea):
    """What is written. `pastes` has the pastes of it, `recall` the earlier inputs."""

    DEFAULT_CSS = """
    Editor, Editor:focus {
        height: auto; max-height: 8; border: none; padding: 0; background: transparent;
        scrollbar-size-vertical: 1;
    }
    Editor .text-area--placeholder { color: $muted; }
    Editor .editor--paste { color: $secondary; text-style: italic; }
    Editor:dark .text-area--cursor { color: $background; background: $primary; }
    Editor:light .text-area--cursor { color: $background; background: $primary; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"editor--paste"}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "Newline", show=False),
        Binding("f6", "edit_externally", "Write in your editor", show=False),
        Binding("pageup", "screen.scroll_transcript(-1)", "Scroll up", show=False),
        Binding("pagedown", "screen.scroll_transcript(1)", "Scroll down", show=False),
        Binding("ctrl+home", "screen.transcript_home", "First line", show=False),
        Binding("ctrl+end", "screen.transcript_end", "Last line", show=False),
    ]

    class Submitted(Message):
        """Enter was pressed. Whoever takes the text clears the editor; until then it stays. Tokens are tokens."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class DraftChanged(Message):
        """Nothing was changed for half a second after a change: time to save the draft."""

    class Trouble(Message):
        """One line that the person should read."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        self.pastes = Pastes()  # before the field, which asks for them as soon as it has a cursor
        self.paste_lines = 20
        self.recall = History()
        self.first: Callable[[str], bool] = lambda key: False
        """Asked before any key is acted on; true where it was taken."""
        self._loaded = ""
        self._draft_timer: Timer | None = None
        super().__init__(compact=True, highlight_cursor_line=False, placeholder=ASK, show_line_numbers=False)
        # Each blink paints the field again, twice a second, also while nothing else goes on.
        self.cursor_blink = False

    # Keys.

    async def on_key(self, event: Key) -> None:
        taken = self.first(event.key)
        if not taken and event.key == "enter":
            self.post_message(self.Submitted(self.text))
            taken = True
        if taken:
            event.stop()
            event.prevent_default()
        else:
            await act_in_order(self, event)

    def action_newline(self) -> None:
        self.insert_typed("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.get_cursor_up_location()[0] == 0 and self._on_first_row():
            self._recall(self.recall.older(self.draft()))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self._on_last_row():
            self._recall(self.recall.newer())
        else:
            super().action_cursor_down(select)

    def scroll_cursor_visible(self, center: bool = False, animate: bool = False) -> Offset:
        """Not while an undo has shortened the text and not moved the cursor yet: a scrollbar that goes asks then."""
        if self.cursor_location > self.document.end:
            return Offset()
        return super().scroll_cursor_visible(center, animate)

    def _on_first_row(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y == 0

    def _on_last_row(self) -> bool:
        return self.wrapped_document.location_to_offset(self.cursor_location).y >= self.wrapped_document.height - 1

    def _recall(self, draft: Draft | None) -> None:
        if draft is not None:
            self.set_draft(draft)

    # The whole text.

    @property
    def is_as_loaded(self) -> bool:
        """Whether nobody has written here since the text was put in."""
        return self.text == self._loaded

    def draft(self) -> Draft:
        """What a crash must not lose."""
        return Draft(self.text, self.pastes.kept(self.text))

    def set_draft(self, draft: Draft) -> None:
        """Replace everything, the cursor at the end. There is no way back to what was there, nor to its pastes."""
        self.pastes.keep(draft.pastes)
        self._loaded = typed(draft.text)
        self.text = self._loaded
        self.move_cursor(self.document.end)

    def set_text(self, text: str) -> None:
        """Replace everything; of the pastes those stay whose tokens are in `text`."""
        self.set_draft(Draft(text, self.pastes.kept(text)))

    def take(self, sent: str) -> None:
        """`sent` was sent: remember it, keep only what was typed behind it since.

        A text that does not begin with `sent` any more stays as it is.
        """
        self.recall.add(Draft(sent, self.pastes.kept(sent)))
        if self.text.startswith(sent):
            self.set_text(self.text[len(sent) :])
            self._loaded = ""  # that was typed

    @on(TextArea.Changed)
    def _changed(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
        self._draft_timer = self.set_timer(DRAFT_SECONDS, lambda: self.post_message(self.DraftChanged()))

    # Pastes.

    def on_paste(self, event: Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_pasted(event.text)

    def action_paste(self) -> None:
        self.insert_pasted(self.app.clipboard)

    def insert_pasted(self, text: str) -> None:
        """Insert a paste: a long one as a token."""
        self.insert_typed(self.pastes.collapse(typed(text), self.paste_lines, self.text))

    def insert_typed(self, text: str) -> None:
        """Insert at the cursor, replacing a selection, without the control characters a paste may carry."""
        if text := typed(text):
            self.move_cursor(self.replace(text, *self.selection, maintain_selection_offset=False).end_location)

    def delete(self, start: Location, end: Location, *, maintain_selection_offset: bool = True) -> EditResult:
        """Delete between two places, and the whole of a token that one of them is in the middle of."""
        start, end = sorted((start, end))
        for begin, behind in self._tokens(start[0]):
            start = (start[0], begin) if begin < start[1] < behind else start
        for begin, behind in self._tokens(end[0]):
            end = (end[0], behind) if begin < end[1] < behind else end
        return super().delete(start, end, maintain_selection_offset=maintain_selection_offset)

    def validate_selection(self, selection: Selection) -> Selection:
        """No end of the selection is inside a token: from the left one gets behind it, from the right before it."""
        cursor = self.selection.end
        return Selection(self._outside(selection.start, cursor), self._outside(selection.end, cursor))

    def _outside(self, place: Location, before: Location) -> Location:
        row, column = place
        for begin, behind in self._tokens(row):
            if begin < column < behind:
                return row, behind if place > before else begin
        return place

    def _tokens(self, row: int) -> list[tuple[int, int]]:
        return self.pastes.spans(self.document[row]) if row < self.document.line_count else []

    @property
    def selected_text(self) -> str:
        """What is selected, as it was pasted: outside of this draft a token stands for nothing."""
        return self.pastes.expand(super().selected_text)

    def action_cut(self) -> None:
        super().action_cut()
        cut = self.app.clipboard
        if (full := self.pastes.expand(cut)) != cut:
            self.app.copy_to_clipboard(full)

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        for begin, behind in self._tokens(line_index):
            line.stylize(self.get_component_rich_style("editor--paste", partial=True), begin, behind)
        return line

    # The person's own editor.

    def action_edit_externally(self) -> None:
        """Write in $VISUAL or $EDITOR. Tokens stay tokens; what comes back is one change that can be undone."""
        before, after, trouble = self.text, None, ""
        try:
            with self.app.suspend():
                # Caught inside: nothing may keep the app from coming back to the screen.
                try:
                    after = edit_externally(before)
                except QwenError as error:
                    trouble = str(error)
        except SuspendNotSupported:
            trouble = "No other program can use this terminal: it cannot be given away for a while."
        if trouble:
            self.post_message(self.Trouble(trouble))
        elif after is not None and after != before:
            self._loaded = after
            self.replace(after, (0, 0), self.document.end, maintain_selection_offset=False)
            self.move_cursor(self.document.end)
