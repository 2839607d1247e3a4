"""The lens: one answer, token by token. What is asked of the engine for it is app/lens_actions.py's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from qwen_tui.lens.answer_text import passages
from qwen_tui.lens.panel import ALL_SURE, VIEWS, View, legend, time_panel, token_panel, uncertain_panel
from qwen_tui.lens.reading import Reading
from qwen_tui.lens.shades import BYS, By, levels
from qwen_tui.lens.text_view import AnswerText, ShadeRows
from qwen_tui.lens.token_lines import alternatives
from qwen_tui.lens.token_screen import TokenScreen
from qwen_tui.lens.uncertain import next_place, uncertain_places
from qwen_tui.text.formatting import fit
from qwen_tui.text.safe import one_line
from qwen_tui.text.token_text import shown_token
from qwen_tui.widgets.list_status import ListKeys

LEAST_PANEL, MOST_PANEL = 5, 11
PANEL_SHARE = 0.45
KEYS: dict[View, str] = {
    "alternatives": "Esc chat|⏎ go on from|← → token|↑ ↓ other|n next|c colour|u list|t time|F1 keys",
    "uncertain": "Esc chat|⏎ go there|↑ ↓ place|a token|t time|c colour|F1 keys",
    "timeline": "Esc chat|← → token|a token|u list|n next|c colour|F1 keys",
}


STILL_COMES = "More of the answer comes: that can be done once it has ended. Esc, then Esc again, stops it."
UNREAD = "Esc chat|s read it once more|← → token|t time|F1 keys"
"""Where no probabilities are known."""


@dataclass(frozen=True)
class GoOnFrom:
    """Another answer is wanted: with the tokens before `place`, then `token`."""

    place: int
    token: int


class LensScreen(TokenScreen[GoOnFrom | None]):
    """Closes with where to go on from, None for nowhere."""

    CSS_PATH = "screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f12", "dismiss", "Back", show=False),
        Binding("up,k", "row(-1)", "Row up", show=False),
        Binding("down,j", "row(1)", "Row down", show=False),
        Binding("enter", "take", "Go on from the alternative, or to the place", show=False),
        Binding("n", "uncertain(1)", "Next uncertain place", show=False),
        Binding("N", "uncertain(-1)", "Uncertain place before", show=False),
        Binding("c", "colour", "Colour by probability, entropy, nothing", show=False),
        Binding("a", "view('alternatives')", "The token and its alternatives", show=False),
        Binding("u", "view('uncertain')", "The most uncertain places", show=False),
        Binding("t", "view('timeline')", "The time of each token", show=False),
        Binding("tab", "next_view", "The next of these", show=False),
        Binding("s", "score", "Read the answer once more for its probabilities", show=False),
    ]

    def __init__(self, reading: Reading, score: Callable[[], str]) -> None:
        """`score` has the answer read once more; it returns why that cannot be, "" if it can. What comes of it is told
        by `take`, `tell` and `fail`.
        """
        super().__init__()
        self._score = score
        self._by: By = "probability"
        self._view: View = "alternatives"
        self._alternative = self._listed = 0
        self._word = ""
        self._asked: GoOnFrom | None = None  # a control token, for which Enter is wanted once more
        self._put(reading)

    def _put(self, reading: Reading) -> None:
        self.reading = reading
        self._passages = passages([reading.spelling(token) for token in reading.ids])
        self._places = uncertain_places(reading)
        self._place = min(self._place, max(0, len(reading.ids) - 1))

    @property
    def tokens(self) -> int:
        return len(self.reading.ids)

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        with VerticalScroll(id="text", can_focus=False):
            yield AnswerText()
        yield ShadeRows(id="legend")
        yield ShadeRows(id="panel")
        yield ListKeys()

    def on_mount(self) -> None:
        self._colour()

    # What the engine brings.

    def take(self, reading: Reading) -> None:
        """More is known of the answer."""
        self._put(reading)
        self._word = ""
        self._colour()

    def tell(self, word: str) -> None:
        """A word in the line between text and panel, until a key is pressed."""
        self._word = one_line(word, 300)
        self._draw_legend()

    # Drawing.

    def _colour(self) -> None:
        """Another text, or other shades."""
        reading, unknown = self.reading, [0] * self.reading.first
        known = reading.probabilities
        shades = levels(self._by, known.logprobs(), known.entropies()) if known is not None else []
        self.query_one(AnswerText).show(self._passages, [*unknown, *shades])
        self.moved()
        self.call_after_refresh(self.moved)

    def moved(self) -> None:
        text = self.query_one(AnswerText)
        text.go(self._place)
        self.into_view(text)
        self._draw()

    def _draw(self) -> None:
        width, rows = max(1, self.size.width - 2), self._panel_rows()
        reading, place = self.reading, self._place
        head = Content.assemble(
            ("Lens", "$primary bold"), f" · by {self._by} · ", "so far · " * reading.running, reading.about
        )
        self.query_one("#head", Static).update(head.truncate(width, ellipsis=True))
        match self._view:
            case "alternatives":
                lines = token_panel(reading, place, alternatives(reading, place), self._alternative, width, rows)
            case "uncertain":
                lines = uncertain_panel(reading, self._places, self._listed, width, rows)
            case "timeline":
                lines = time_panel(reading, place, width, rows)
        self.query_one("#panel", ShadeRows).show([*lines, *[Content("")] * (rows - len(lines))])
        self._draw_legend()
        keys = KEYS[self._view] if reading.probabilities is not None else UNREAD
        self.query_one(ListKeys).show(*keys.split("|"))

    def _draw_legend(self) -> None:
        width = max(1, self.size.width - 2)
        word = Content.styled(fit([self._word], width), "$accent") if self._word else legend(self._by, width)
        self.query_one("#legend", ShadeRows).show([word])

    def _panel_rows(self) -> int:
        return max(LEAST_PANEL, min(MOST_PANEL, round(self.size.height * PANEL_SHARE)))

    # Keys.

    def go(self, place: int) -> None:
        self._alternative, self._asked, self._word = 0, None, ""
        super().go(place)

    def action_row(self, rows: int) -> None:
        """The cursor of the list below."""
        self._word, self._asked = "", None
        if self._view == "uncertain":
            self._listed = max(0, min(self._listed + rows, len(self._places) - 1))
        elif self._view == "alternatives":
            last = len(alternatives(self.reading, self._place)) - 1
            self._alternative = max(0, min(self._alternative + rows, last))
        self._draw()

    def action_uncertain(self, step: int) -> None:
        place = next_place(self._places, self._place, step)
        if place is None:
            self.tell("Nothing is known to be uncertain here." if self.reading.probabilities is None else ALL_SURE)
        else:
            self.go(place)

    def action_colour(self) -> None:
        self._by = BYS[(BYS.index(self._by) + 1) % len(BYS)]
        self._word = ""
        self._colour()

    def action_view(self, view: View) -> None:
        self._view, self._word = view, ""
        self._draw()

    def action_next_view(self) -> None:
        self.action_view(VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)])

    def action_score(self) -> None:
        self.tell(STILL_COMES if self.reading.running else self._score() or "Reading the answer once more …")

    def action_take(self) -> None:
        """To the place that is chosen, or on from the alternative that is."""
        if self._view == "uncertain" and self._places:
            self._view = "alternatives"
            self.go(self._places[self._listed])
        elif self._view == "alternatives":
            self._take_alternative()

    def _take_alternative(self) -> None:
        found = alternatives(self.reading, self._place)
        if not found:
            self.action_score()
            return
        chosen = GoOnFrom(self._place, found[self._alternative].token)
        spelling = self.reading.spelling(chosen.token)
        if self.reading.running:
            self.tell(STILL_COMES)
        elif not self.reading.prompt_ids:
            self.tell("It cannot go on from here: the tokens before this answer are not known.")
        elif spelling.control and self._asked != chosen:
            self._asked = chosen
            self.tell(f"{shown_token(spelling, 40)} is a control token, not text: Enter again goes on with it.")
        else:
            self.dismiss(chosen)
