"""Widgets without an edge whose lines are their strips: nothing is put around them, and nothing is kept twice."""

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.style import Style

from qwen_tui.widgets.one_layout import OneLayout


class LineStrips(OneLayout):
    """A widget that gives its lines by `line_strip`, and keeps those worth keeping.

    The toolkit's own cache of lines composes an edge around each, and forgets all of them with every change of size.
    """

    def parse_style(self, style: str | Style) -> Style:
        """What a style that is named in a line looks like."""
        return style if isinstance(style, Style) else Style.parse(style)

    def strip_of(self, content: Content, width: int, base: Style) -> Strip:
        """One line of `content` as a strip of `width` cells on `base`."""
        segments = [Segment(text, style.rich_style) for text, style in content.render(base, "", self.parse_style)]
        # Neighbours that look alike are one segment: a line of cells would send a style for each of them.
        return Strip(segments).simplify().adjust_cell_length(width, base.rich_style)

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        """Line `y` of what is inside, `width` cells on `base`; this one is empty, as those below the last are."""
        return Strip.blank(width, base.rich_style)

    def render_line(self, y: int) -> Strip:
        return self.line_strip(y, self.content_size.width, self.visual_style)

    def render_lines(self, crop: Region) -> list[Strip]:
        if self.gutter.totals != (0, 0):
            return super().render_lines(crop)
        # Asked for once: each walks up to the screen.
        width, base, background = self.size.width, self.visual_style, self.background_colors[1]
        strips = [self.line_strip(y, width, base) for y in crop.line_range]
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        if crop.column_span != (0, width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips
