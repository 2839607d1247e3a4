"""The answer of the lens on the screen: its text as the model wrote it, each token in its shade, one marked."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content, Span
from textual.events import Click
from textual.geometry import Region
from textual.message import Message
from textual.style import Style
from textual.theme import Theme

from qwen_tui.lens.answer_text import Passage, strengths, under_cursor
from qwen_tui.lens.shades import PREFIX, Shades
from qwen_tui.text.block_layout import Block, lay_out
from qwen_tui.widgets.cursor_list import CURSOR
from qwen_tui.widgets.line_strips import LineStrips
from qwen_tui.widgets.styled_rows import Rows
from qwen_tui.widgets.text_lines import TextLines


class ShadeStyles(LineStrips):
    """A widget whose lines may hold shades, by their names."""

    _shades: tuple[Theme, Shades] | None = None

    def parse_style(self, style: str | Style) -> Style:
        if isinstance(style, str) and style.startswith(PREFIX):
            theme = self.app.current_theme
            if self._shades is None or self._shades[0] is not theme:
                self._shades = theme, Shades(theme, plain=self.app.no_color)
            found = self._shades[1].style(style)
            if found is not None:
                return found
        return super().parse_style(style)


class ShadeRows(Rows, ShadeStyles):
    """Rows of text with shades."""


@dataclass(frozen=True)
class Line:
    """A line of the text: where in which passage."""

    passage: int
    begin: int
    end: int
    content: Content


class AnswerText(TextLines, ShadeStyles):
    """`show` takes the passages and a level for each token; `go` puts the cursor on one."""

    class Chosen(Message):
        """A token was clicked, in the text with this id."""

        def __init__(self, place: int, text_id: str | None) -> None:
            super().__init__()
            self.place = place
            self.text_id = text_id

    def __init__(self) -> None:
        super().__init__()
        self._passages: Sequence[Passage] = ()
        self._lines: list[Line] = []
        self._under_cursor: dict[int, tuple[int, int]] = {}

    def show(self, passages: Sequence[Passage], levels: Sequence[int]) -> None:
        """Other text, or other shades; the cursor is nowhere."""
        self._passages = passages
        self._lines = [line for number, passage in enumerate(passages) for line in lines_of(number, passage, levels)]
        self._under_cursor = {}
        self.set_blocks([Block(line.content, gap=None) for line in self._lines])

    def go(self, place: int) -> None:
        """The cursor onto token `place`."""
        before, self._under_cursor = self._under_cursor, self._lines_of(place)
        for at in dict.fromkeys((*before, *self._under_cursor)):
            content = self._lines[at].content
            span = self._under_cursor.get(at)
            content = Content(
                content.plain,
                [*content.spans, *([Span(*span, CURSOR)] if span is not None and span[0] < span[1] else [])],
            )
            self._blocks[at] = Block(content, gap=None)
            if at < len(self._placed):  # the rows stay what they are, so nothing is laid out again but this line
                placed = self._placed[at]
                placed.block, placed.laid = self._blocks[at], lay_out(self._blocks[at], self._width)
                placed.strips.clear()
                self.refresh(Region(0, placed.row, self._width, len(placed.laid.rows)))

    @property
    def row(self) -> int | None:
        """The row that the cursor begins in; None where it is nowhere, or nothing is laid out."""
        at = next(iter(self._under_cursor), None)
        if at is None or at >= len(self._placed):
            return None
        placed, begin = self._placed[at], self._under_cursor[at][0]
        return placed.row + max((n for n, row in enumerate(placed.laid.rows) if row.column <= begin), default=0)

    def _lines_of(self, place: int) -> dict[int, tuple[int, int]]:
        """The lines that token `place` stands in, and what of them it is; one that writes nothing stands there too."""
        number = next((n for n, each in enumerate(self._passages) if each.first <= place < each.last), None)
        if number is None:
            return {}
        passage = self._passages[number]
        begin, end = under_cursor(passage, place - passage.first)
        return {
            at: (max(begin, line.begin) - line.begin, max(0, min(end, line.end) - line.begin))
            for at, line in enumerate(self._lines)
            if line.passage == number and line.begin <= max(begin, end - 1) and begin <= line.end
        }

    def on_click(self, event: Click) -> None:
        """A click chooses the token that it hits."""
        offset = event.style.meta.get("offset")
        if not isinstance(offset, tuple) or not self._placed or event.y >= len(self._starts) + self.size.height:
            return
        event.stop()
        placed, inside = self._place(event.y)
        line = self._lines[self._placed.index(placed)]
        at = line.begin + offset[0]
        passage = self._passages[line.passage]
        found = next((n for n, (begin, end) in enumerate(passage.spans) if begin <= at < end), None)
        if inside >= 0 and found is not None:
            self.post_message(self.Chosen(passage.first + found, self.id))


def lines_of(number: int, passage: Passage, levels: Sequence[int]) -> list[Line]:
    """The lines of passage `number`, each token in the shade of its level; the names of control tokens are no text of
    the answer. `levels`: one for each token of the answer.
    """
    runs = [run for run in strengths(passage, levels[passage.first : passage.last]) if run[1]]
    under = "$muted" if passage.control else ""
    found, begin, first = list[Line](), 0, 0
    for text in passage.text.split("\n"):
        end = begin + len(text)
        while first < len(runs) and runs[first][0][1] <= begin:
            first += 1
        spans = [Span(0, len(text), under)] if under and text else []
        for (start, stop), level in runs[first : first + len(text)]:  # each has a character at least
            if start >= end:
                break
            spans.append(Span(max(start, begin) - begin, min(stop, end) - begin, f"{PREFIX}{level}"))
        found.append(Line(number, begin, end, Content(text, spans)))
        begin = end + 1
    return found
