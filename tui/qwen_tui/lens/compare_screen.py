"""Two models' words on one answer, beside each other: both columns scroll together, what differs is marked."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.screen import Screen
from textual.widgets import Static

from qwen_core.protocol.comparison import Compared
from qwen_tui.lens.answer_text import passages
from qwen_tui.lens.compared import Pair, heading, next_parted
from qwen_tui.lens.text_view import AnswerText, ShadeRows
from qwen_tui.lens.token_lines import rows_of
from qwen_tui.widgets.list_status import ListKeys

KEYS = "Esc chat|n next that differs|← → token|b the other text of B|F1 keys"
ROWS, NARROW_ROWS = 2, 5
NARROW = 80


class Column(AnswerText):
    """One of the two texts."""

    def __init__(self, side: str) -> None:
        super().__init__()
        self.id = side


class CompareScreen(Screen[None]):
    """Shows one comparison."""

    CSS_PATH = "compare_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back", show=False),
        Binding("left,h", "step(-1)", "Token before", show=False),
        Binding("right,l", "step(1)", "Next token", show=False),
        Binding("ctrl+left,pageup", "step(-20)", "Tokens back", show=False),
        Binding("ctrl+right,pagedown", "step(20)", "Tokens on", show=False),
        Binding("home", "end(0)", "First token", show=False),
        Binding("end", "end(1)", "Last token", show=False),
        Binding("up,k", "scroll(-1)", "Scroll up", show=False),
        Binding("down,j", "scroll(1)", "Scroll down", show=False),
        Binding("n", "differing(1)", "Next token that differs", show=False),
        Binding("N", "differing(-1)", "Token before that differs", show=False),
        Binding("b", "other", "The answer of B, or what B would say at A's tokens", show=False),
    ]

    def __init__(self, found: Compared) -> None:
        super().__init__()
        self._pair = Pair(found)
        self._place = self._pair.parted[0] if self._pair.parted else 0

    @property
    def place(self) -> int:
        """The number of the token of A's answer under the cursor, from 0."""
        return self._place

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        with Horizontal(id="names"):
            yield Static(id="name-a", markup=False)
            yield Static(id="name-b", markup=False)
        with VerticalScroll(id="text", can_focus=False), Horizontal(id="columns"):
            yield Column("a")
            yield Column("b")
        yield ShadeRows(id="panel")
        yield ListKeys()

    def on_mount(self) -> None:
        self.query_one(ListKeys).show(*KEYS.split("|"))
        self._fill()

    def on_resize(self) -> None:
        self.call_after_refresh(self._moved)

    def _column(self, side: str) -> AnswerText:
        return self.query_one(f"#{side}", AnswerText)

    def _fill(self) -> None:
        """Both columns anew."""
        pair = self._pair
        for side, ids, levels in zip("ab", (pair.a_ids, pair.b_ids), pair.levels(), strict=True):
            self._column(side).show(passages(pair.spellings(ids)), levels)
        self._moved()
        self.call_after_refresh(self._moved)

    def _moved(self) -> None:
        a, b = self._column("a"), self._column("b")
        a.go(self._place)
        b.go(self._pair.places.get(self._place, -1))
        if a.row is not None:
            self.query_one("#text", VerticalScroll).scroll_to_region(Region(0, a.row, 1, 1), animate=False)
        self._draw()

    def _draw(self) -> None:
        width, pair = max(1, self.size.width - 2), self._pair
        head = Content.assemble(("Compare", "$primary bold"), f" · {pair.verdict()}")
        self.query_one("#head", Static).update(head.truncate(width, ellipsis=True))
        for side, text in zip("ab", pair.headings(), strict=True):
            self.query_one(f"#name-{side}", Static).update(heading(text, width // 2 - 1))
        rows = ROWS if width >= NARROW else NARROW_ROWS
        facts = rows_of(pair.facts(self._place), width, rows - 1)
        lines = [*facts, *[Content("")] * (rows - 1 - len(facts)), *rows_of(pair.figures(), width, 1)]
        self.query_one("#panel", ShadeRows).show(lines)

    # Keys.

    def _go(self, place: int) -> None:
        self._place = max(0, min(place, len(self._pair.a_ids) - 1))
        self._moved()

    def action_step(self, tokens: int) -> None:
        self._go(self._place + tokens)

    def action_end(self, last: int) -> None:
        self._go(last * (len(self._pair.a_ids) - 1))

    def action_scroll(self, rows: int) -> None:
        self.query_one("#text", VerticalScroll).scroll_relative(y=rows, animate=False)

    def action_differing(self, step: int) -> None:
        place = next_parted(self._pair.parted, self._place, step)
        if place is not None:
            self._go(place)

    def action_other(self) -> None:
        self._pair = Pair(self._pair.found, not self._pair.own)
        self._fill()

    @on(AnswerText.Chosen)
    def _clicked(self, message: AnswerText.Chosen) -> None:
        places = self._pair.places
        if message.text_id == "a":
            self._go(message.place)
        else:
            self._go(next((a for a, b in places.items() if b == message.place), self._place))
