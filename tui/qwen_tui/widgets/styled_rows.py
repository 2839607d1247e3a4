"""Rows of styled text that change a few at a time: only those that did are drawn again."""

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.style import Style

from qwen_tui.widgets.line_strips import LineStrips


class Rows(LineStrips):
    """`show` takes all rows, none wider than the widget. Only another number of them is laid out."""

    DEFAULT_CSS = """
    Rows { height: auto; width: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Content] = []
        self._strips: dict[int, Strip] = {}  # of rows as they are, on _ground and _width
        self._ground: Style | None = None
        self._width = 0

    def show(self, rows: Sequence[Content]) -> None:
        old, self._rows = self._rows, list(rows)
        if len(old) != len(rows):
            self._strips.clear()
            self.refresh(layout=True)
            return
        changed = [y for y, row in enumerate(rows) if row is not old[y] and not row.is_same(old[y])]
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            self.refresh(*(Region(0, y, self.content_size.width, 1) for y in changed))

    @property
    def plain(self) -> str:
        return "\n".join(row.plain for row in self._rows)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._rows)

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        if y >= len(self._rows) or not width:
            return super().line_strip(y, width, base)
        if (base, width) != (self._ground, self._width):
            self._ground, self._width = base, width
            self._strips.clear()
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strips[y] = self.strip_of(self._rows[y], width, base)
        return strip

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()  # their colours are names that another theme reads otherwise
