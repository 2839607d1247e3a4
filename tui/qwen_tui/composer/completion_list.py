"""The list above the composer's text: what the word under the cursor may become. It draws, walks, and is clicked."""

from collections.abc import Sequence

from textual.content import Content
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.widget import Widget

from qwen_tui.composer.completion import Candidate
from qwen_tui.text.safe import visible
from qwen_tui.widgets.cursor_list import MARK, selected

MAX_ROWS = 6
HINT = "Tab takes · Esc closes"


class CompletionList(Widget):
    """At most MAX_ROWS candidates, over whatever is above. Never focused: the keys stay the editor's."""

    DEFAULT_CSS = """
    CompletionList {
        display: none; overlay: screen; width: 100%; height: auto; padding: 0 1;
        background: $surface; border-top: solid $panel;
        border-title-color: $muted; border-title-background: $surface; border-title-align: right;
    }
    """

    class Chosen(Message):
        """A candidate was clicked."""

        def __init__(self, candidate: Candidate) -> None:
            super().__init__()
            self.candidate = candidate

    def __init__(self) -> None:
        super().__init__()
        self.candidates: Sequence[Candidate] = ()
        self.moved = False
        """Whether the person went through the list, so that Enter means what is selected."""
        self._selected = self._top = 0
        self._room = MAX_ROWS

    @property
    def is_open(self) -> bool:
        return bool(self.candidates) and self._room > 0

    @property
    def selected(self) -> Candidate | None:
        return self.candidates[self._selected] if self.is_open else None

    @property
    def rows(self) -> int:
        """How many candidates are in view."""
        return min(len(self.candidates), max(0, self._room))

    def show(self, candidates: Sequence[Candidate], room: int) -> None:
        """These candidates in `room` free lines, border included. What the person had moved to stays selected."""
        room = min(MAX_ROWS, room - 1)
        if (candidates, room) == (self.candidates, self._room):
            return
        before = self.selected if self.moved else None
        self.candidates, self._room = candidates, room
        self.moved = before is not None and before in candidates
        self._selected = candidates.index(before) if before is not None and self.moved else 0
        self._top = 0
        self.display = self.is_open
        self.styles.offset = (0, -self.rows - 2)  # the composer's own border below, this one above
        self._draw()

    def move(self, rows: int) -> None:
        """The next candidate or the one before, from the last on to the first."""
        if self.is_open:
            self.moved = True
            self._selected = (self._selected + rows) % len(self.candidates)
            self._draw()

    def _draw(self) -> None:
        self._top = max(self._selected - self.rows + 1, min(self._top, self._selected), 0)
        count = f"{self._selected + 1} of {len(self.candidates)} · " if len(self.candidates) > self.rows else ""
        self.border_title = Content(f" {count}{HINT} ")  # no edge beside it gives it room
        self.refresh(layout=True)

    def render(self) -> Content:
        width = self.content_size.width
        shown = self.candidates[self._top : self._top + self.rows]
        labels = [Content(visible(candidate.label)) for candidate in shown]
        # As wide as the widest of all, so that the notes do not jump while the list is walked through.
        widest = max((Content(visible(candidate.label)).cell_length for candidate in self.candidates), default=0)
        column = max(1, min(widest, width // 2 if any(candidate.note for candidate in shown) else width - 2))
        lines: list[Content] = []
        for place, (candidate, label) in enumerate(zip(shown, labels, strict=True), self._top):
            here = place == self._selected
            line = Content.assemble(
                f"{MARK if here else ' '} ",
                label.truncate(column, ellipsis=True, pad=True),
                ("  " + visible(candidate.note), "$muted") if candidate.note else "",
            )
            line = line.truncate(width, ellipsis=True)
            lines.append(selected(line, width) if here else line)
        return Content("\n").join(lines)

    def on_click(self, event: Click) -> None:
        event.stop()
        place = self._top + event.y - 1
        if 0 <= event.y - 1 < self.rows:
            self.post_message(self.Chosen(self.candidates[place]))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.move(1)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.move(-1)
