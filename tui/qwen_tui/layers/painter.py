"""How the inspector's lines get their colours: the theme's by their names, those of cells from the palette."""

from textual.style import Style
from textual.theme import Theme

from qwen_tui.layers.palette import Palette
from qwen_tui.widgets.line_strips import LineStrips
from qwen_tui.widgets.styled_rows import Rows


class CellStyles(LineStrips):
    """A widget whose lines may hold cells of the map."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._theme: Theme | None = None
        self._palette: Palette | None = None

    def parse_style(self, style: str | Style) -> Style:
        theme = self.app.current_theme
        if self._palette is None or self._theme is not theme:
            self._theme, self._palette = theme, Palette(theme)
        found = self._palette.style(style) if isinstance(style, str) else style
        return super().parse_style(style) if found is None else found


class CellRows(Rows, CellStyles):
    """Rows of text among which bars stand."""
