"""Two models' words on one answer, beside each other: both columns scroll together, what differs is marked."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from qwen_core.protocol.comparison import Compared
from qwen_tui.lens.answer_text import passages
from qwen_tui.lens.compared import Pair, heading
from qwen_tui.lens.text_view import AnswerText, ShadeRows
from qwen_tui.lens.token_lines import rows_of
from qwen_tui.lens.token_screen import TokenScreen
from qwen_tui.lens.uncertain import next_place
from qwen_tui.widgets.list_status import ListKeys

KEYS = "Esc chat|n next that differs|← → token|b the other text of B|F1 keys"
ROWS, NARROW_ROWS = 2, 5
NARROW = 80


class Column(AnswerText):
    """One of the two texts."""

    def __init__(self, side: str) -> None:
        super().__init__()
        self.id = side


class CompareScreen(TokenScreen[None]):
    """Shows one comparison."""

    CSS_PATH = "compare_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back", show=False),
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
    def tokens(self) -> int:
        return len(self._pair.a_ids)

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

    def _column(self, side: str) -> AnswerText:
        return self.query_one(f"#{side}", AnswerText)

    def _fill(self) -> None:
        """Both columns anew."""
        pair = self._pair
        for side, ids, levels in zip("ab", (pair.a_ids, pair.b_ids), pair.levels(), strict=True):
            self._column(side).show(passages(pair.spellings(ids)), levels)
        self.moved()
        self.call_after_refresh(self.moved)

    def moved(self) -> None:
        a, b = self._column("a"), self._column("b")
        a.go(self._place)
        b.go(self._pair.places.get(self._place, -1))
        self.into_view(a)
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

    def action_scroll(self, rows: int) -> None:
        self.query_one("#text", VerticalScroll).scroll_relative(y=rows, animate=False)

    def action_differing(self, step: int) -> None:
        place = next_place(self._pair.parted, self._place, step)
        if place is not None:
            self.go(place)

    def action_other(self) -> None:
        self._pair = Pair(self._pair.found, not self._pair.own)
        self._fill()

    def place_of(self, message: AnswerText.Chosen) -> int:
        if message.text_id == "a":
            return message.place
        return next((a for a, b in self._pair.places.items() if b == message.place), self._place)
