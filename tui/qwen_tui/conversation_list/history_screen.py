"""How fast the models were over all kept conversations: the screen of /history."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from qwen_core.errors import QwenError
from qwen_tui.conversation_list.history_lines import ModelHistory, by_model, history_lines
from qwen_tui.store.thread import StoreThread
from qwen_tui.text.formatting import counted, fit
from qwen_tui.text.safe import one_line
from qwen_tui.widgets.list_status import ListKeys
from qwen_tui.widgets.styled_rows import Rows

NOTHING = "No answer has been kept yet. Ask something, and its figures are here."


class HistoryScreen(Screen[None]):
    """Escape goes back."""

    CSS_PATH = "history_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
    ]

    def __init__(self, store: StoreThread) -> None:
        super().__init__()
        self._store = store
        self._histories: list[ModelHistory] = []
        self._word = "Reading the figures …"

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        with VerticalScroll(id="charts"):
            yield Rows()
        yield ListKeys()

    def on_mount(self) -> None:
        self.query_one(ListKeys).show("Esc back", "↑ ↓ scroll", "F1 keys")
        self.run_worker(self._read)

    async def _read(self) -> None:
        try:
            self._histories = by_model(await self._store.use(lambda store: store.figures.recent()))
            self._word = NOTHING
        except QwenError as error:
            self._word = one_line(str(error), 400)
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        answers = sum(len(history.answers) for history in self._histories)
        facts = fit(
            ["", counted(answers, "answer"), "the latest on the right"] if answers else [], self.size.width - 10
        )
        self.query_one("#head", Static).update(Content.assemble(("History", "$primary bold"), facts))
        width = max(1, self.query_one(Rows).size.width)
        lines = history_lines(self._histories, width) or [Content(self._word).truncate(width, ellipsis=True)]
        self.query_one(Rows).show(lines)

    def action_move(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
