"""NO_COLOR: the screen in greys, or in the terminal's own two colours where a theme leaves colours to the terminal.

The toolkit's filter for it knows no terminal colours: it draws black on black in place of them.
"""

from functools import lru_cache
from typing import Any

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter, Monochrome, NoColor

_TERMINAL = Style(color="default", bgcolor="default")


@lru_cache(2048)
def without_colour(style: Style) -> Style:
    """Greys of the same lightness; the terminal's own text and background if either colour is the terminal's."""
    fore, back = style.color, style.bgcolor
    if fore is None and back is None:
        return style
    if fore is None or back is None or fore.triplet is None or back.triplet is None:
        return style + _TERMINAL
    return style + Style(color=_grey(fore), bgcolor=_grey(back))


def _grey(color: RichColor) -> RichColor:
    return Color.from_rich_color(color).monochrome.rich_color


class Greys(LineFilter):
    """Takes the colours of every line away."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, None if style is None else without_colour(style), control)
            for text, style, control in segments
        ]


def respect_no_color(app: App[Any]) -> None:
    """Where the person asked for no colours, take them away without hiding anything. Called once, by the app."""
    filters = app._filters
    filters[:] = [Greys() if isinstance(entry, Monochrome | NoColor) else entry for entry in filters]
