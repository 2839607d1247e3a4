"""The meters panel beside the transcript: large digits, then the lines of panel_lines.py."""

from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.renderables.digits import Digits
from textual.widgets import Static

from qwen_tui.chat.meters import MeterSnapshot
from qwen_tui.chat.panel_lines import digits, panel_lines
from qwen_tui.widgets.styled_rows import Rows

WIDTH = 42
"""Cells of the panel with its border and padding."""
FROM_COLUMNS = 120
"""A terminal at least this wide shows the panel unless the person hid it."""
LEAST_COLUMNS = 76
"""A narrower one has no room for it beside a conversation."""


HEAVY = Style(bold=True)
"""The toolkit draws bold digits with heavier lines."""
DIGIT_ROWS = 4
"""The large digits and their unit."""


def large(value: str) -> list[Content]:
    """The three rows of `value`, in the toolkit's shapes."""
    segments = [segment for segment in Digits(value).render(HEAVY) if isinstance(segment, Segment)]
    return [Content(line) for line in "".join(segment.text for segment in segments).splitlines()]


class Panel(VerticalScroll, can_focus=False):
    """`show` draws a snapshot if it differs from the last one."""

    DEFAULT_CSS = """
    Panel {
        width: 42; border-left: solid $panel; padding: 0 1; scrollbar-size-vertical: 1; color: $foreground;
    }
    Panel > #digits { color: $primary; }
    Panel > .unit { color: $muted; height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: MeterSnapshot | None = None
        self._digits = Rows()
        self._digits.id = "digits"
        self._digits.show(large("-"))
        self._figures = Rows()

    def compose(self) -> ComposeResult:
        yield self._digits
        yield Static("tok/s", classes="unit", markup=False)
        yield self._figures

    def show(self, snapshot: MeterSnapshot) -> None:
        if snapshot == self._shown or not self.display:
            return
        self._shown = snapshot
        self._digits.show(large(digits(snapshot)))
        self._figures.show(panel_lines(snapshot, WIDTH - 4, self.size.height - DIGIT_ROWS))

    def on_resize(self) -> None:
        """Another height has room for more groups of figures, or for fewer."""
        if (shown := self._shown) is not None:
            self._shown = None
            self.show(shown)
