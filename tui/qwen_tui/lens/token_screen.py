"""What the lens and the comparison share: a screen with a text whose tokens are walked, each told of below it."""

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.screen import Screen, ScreenResultType

from qwen_tui.lens.text_view import AnswerText


class TokenScreen(Screen[ScreenResultType]):
    """Has a `VerticalScroll` named "text", which keeps the token in view that is walked to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Token before", show=False),
        Binding("right,l", "step(1)", "Next token", show=False),
        Binding("ctrl+left,pageup", "step(-20)", "Tokens back", show=False),
        Binding("ctrl+right,pagedown", "step(20)", "Tokens on", show=False),
        Binding("home", "end(0)", "First token", show=False),
        Binding("end", "end(1)", "Last token", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._place = 0

    @property
    def place(self) -> int:
        """The number of the token under the cursor, from 0."""
        return self._place

    @property
    def tokens(self) -> int:
        """How many tokens there are to walk."""
        raise NotImplementedError

    def moved(self) -> None:
        """Draw where the cursor is now."""
        raise NotImplementedError

    def on_resize(self) -> None:
        self.call_after_refresh(self.moved)

    def go(self, place: int) -> None:
        """The cursor onto a token, or the nearest there is."""
        self._place = max(0, min(place, self.tokens - 1))
        self.moved()

    def into_view(self, text: AnswerText) -> None:
        """Scroll to the cursor in `text`."""
        if text.row is not None:
            self.query_one("#text", VerticalScroll).scroll_to_region(Region(0, text.row, 1, 1), animate=False)

    def action_step(self, tokens: int) -> None:
        self.go(self._place + tokens)

    def action_end(self, last: int) -> None:
        self.go(last * (self.tokens - 1))

    @on(AnswerText.Chosen)
    def _clicked(self, message: AnswerText.Chosen) -> None:
        self.go(self.place_of(message))

    def place_of(self, message: AnswerText.Chosen) -> int:
        """The token that a click means."""
        return message.place
