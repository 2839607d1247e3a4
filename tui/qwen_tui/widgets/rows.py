"""Rows of styled text that change a few at a time: only those that did are drawn again."""

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip

from qwen_tui.widgets.one_layout import OneLayout


class Rows(OneLayout):
    """`show` takes all rows, none wider than the widget. Only another number of them is laid out."""

    DEFAULT_CSS = """
    Rows { height: auto; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Content] = []

    def show(self, rows: Sequence[Content]) -> None:
        old, self._rows = self._rows, list(rows)
        if len(old) != len(rows):
            self.refresh(layout=True)
            return
        width = self.content_size.width
        changed = [Region(0, y, width, 1) for y, row in enumerate(rows) if not row.is_same(old[y])]
        if changed:
            self.refresh(*changed)

    @property
    def plain(self) -> str:
        return "\n".join(row.plain for row in self._rows)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._rows)

    def render_line(self, y: int) -> Strip:
        width, base = self.content_size.width, self.visual_style
        if y >= len(self._rows) or not width:
            return Strip.blank(width, base.rich_style)
        segments = self._rows[y].render_segments(base)
        return Strip(segments).adjust_cell_length(width, base.rich_style)
