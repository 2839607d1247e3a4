"""The lines of the help: sections of keys and what they do, in two columns. One widget, so that they are there at once.

A widget for each key and each meaning took a third of a second to open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip
from textual.style import Style

from qwen_tui.text.safe import cells
from qwen_tui.widgets.line_strips import LineStrips

MOST_KEY = 20  # cells of the keys; what is longer wraps
COLUMNS_FROM = 44  # cells; with fewer, what a key does stands below it


@dataclass(frozen=True)
class Section:
    """A heading and its rows: (key, what it does)."""

    heading: str
    rows: tuple[tuple[str, str], ...]


def help_lines(sections: Sequence[Section], foot: str, width: int) -> list[Content]:
    """Every section under its heading, then `foot`; no line wider than `width`."""
    keys = [key for section in sections for key, _ in section.rows]
    column = min(MOST_KEY, max(map(cells, keys), default=0), max(4, width // 2))
    lines: list[Content] = []
    for section in sections:
        lines += [Content(""), Content.styled(section.heading, "bold $primary")]
        for key, meaning in section.rows:
            lines += _row(key, meaning, column, width)
    return [*lines, Content(""), *(Content.styled(line, "$muted") for line in wrap(foot, max(8, width)))]


def _row(key: str, meaning: str, column: int, width: int) -> list[Content]:
    if width < COLUMNS_FROM:
        keys = [Content.styled(line, "bold $secondary") for line in _wrapped(key, width)]
        return [*keys, *(Content(f"  {line}") for line in _wrapped(meaning, max(8, width - 2)))]
    keys, meanings = _wrapped(key, column), _wrapped(meaning, max(8, width - column - 2))
    rows = max(len(keys), len(meanings))
    left, right = (texts + [""] * (rows - len(texts)) for texts in (keys, meanings))
    return [
        Content.assemble(Content.styled(one, "bold $secondary").truncate(column, pad=True), "  ", other)
        for one, other in zip(left, right, strict=True)
    ]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells; letters of two cells are counted as if all were."""
    return wrap(text, max(1, width if cells(text) == len(text) else width // 2))


class HelpText(LineStrips):
    """As high as its lines."""

    DEFAULT_CSS = """
    HelpText { height: auto; width: 1fr; }
    """

    def __init__(self, sections: Sequence[Section], foot: str) -> None:
        super().__init__()
        self.sections = tuple(sections)
        self._foot = foot
        self._laid_out: tuple[int, list[Content]] = (0, [])

    def _lines(self, width: int) -> list[Content]:
        if self._laid_out[0] != width:
            self._laid_out = (width, help_lines(self.sections, self._foot, width))
        return self._laid_out[1]

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        lines = self._lines(width)
        return self.strip_of(lines[y], width, base) if y < len(lines) else super().line_strip(y, width, base)
