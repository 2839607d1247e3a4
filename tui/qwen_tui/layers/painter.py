"""Lines of painted runs as a widget: for texts that come out of a pure function ready to draw."""

from rich.segment import Segment
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from qwen_tui.layers.map_text import BLANK, Run
from qwen_tui.layers.palette import Palette
from qwen_tui.text.safe import cells


class Painter:
    """Turns runs into strips in the colours of the theme that is on."""

    def __init__(self) -> None:
        self._theme: Theme | None = None
        self._palette: Palette | None = None

    def strip(self, runs: list[Run], width: int, theme: Theme) -> Strip:
        """One line, exactly `width` cells wide."""
        if self._palette is None or self._theme is not theme:
            self._theme, self._palette = theme, Palette(theme)
        style = self._palette.style
        segments = [Segment(text, style(paint)) for text, paint in runs if text]
        used = sum(cells(text) for text, _ in runs)
        segments.append(Segment(" " * max(0, width - used), style(BLANK)))
        return Strip(segments).crop(0, width)


class RunLines(Widget):
    """As many lines as it was given, or as fit."""

    DEFAULT_CSS = """
    RunLines { height: 1; }
    """

    def __init__(self, *, id: str | None = None, grows: bool = False) -> None:
        super().__init__(id=id)
        self._lines: list[list[Run]] = []
        self._grows = grows
        self._painter = Painter()

    def show(self, lines: list[list[Run]]) -> None:
        if lines != self._lines:
            self._lines = lines
            if self._grows:
                self.styles.height = max(1, len(lines))
            self.refresh()

    def render_line(self, y: int) -> Strip:
        runs = self._lines[y] if y < len(self._lines) else []
        return self._painter.strip(runs, self.size.width, self.app.current_theme)
