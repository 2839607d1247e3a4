"""The colours of the map's cells: from a theme's own colours to the style of each paint. Pure.

Every glyph is readable on its tile: whatever the theme, the contrast is at least that of WCAG 2 for text.
"""

from functools import lru_cache

from textual.color import Color
from textual.style import Style
from textual.theme import Theme

from qwen_tui.layers.map_text import Paint
from qwen_tui.widgets.contrast import readable

# How much of its hue a tile is, for the steps 1 to 8 (2 to 32 bits): faint enough for a page full of them.
_TINTS = (0.10, 0.13, 0.16, 0.20, 0.25, 0.32, 0.40, 0.46)
# The same while a token reads it: nearly the hue itself.
_LIT = 0.78
_LIT_STEP = 0.0275
HUES = {
    "nvfp4": "secondary",
    "mxfp4": "success",
    "mxfp8": "error",
    "affine": "primary",
    "float": "accent",
    "bits": "primary",
    "bytes": "accent",
    "error": "error",
    "graph": "secondary",
}


class Palette:
    """Styles for one theme."""

    def __init__(self, theme: Theme) -> None:
        def colour(name: str) -> Color:
            return Color.parse(getattr(theme, name) or theme.primary)

        self.background = colour("background")
        self._muted = Color.parse(theme.variables.get("muted", theme.primary))
        self._hues = {hue: colour(name) for hue, name in HUES.items()}
        self._ansi = theme.ansi
        self.style = lru_cache(maxsize=512)(self._style)

    def colours(self, paint: Paint) -> tuple[Color, Color]:
        """(text, ground) of a paint."""
        if self._ansi:
            # The terminal's own sixteen colours cannot be mixed, nobody here knows what they look like.
            return self._hues[paint.hue], self.background
        return self._tile(paint) if paint.part == "tile" else self._bar(paint)

    def _bar(self, paint: Paint) -> tuple[Color, Color]:
        hue, ground = self._hues[paint.hue], self.background
        if paint.hue in ("bytes", "error"):  # cheap modules are faint, costly ones strong
            hue = self._muted.blend(hue, min(1.0, paint.step / 6))
        if paint.lit:
            ground = ground.blend(hue, 0.16)
        return readable(hue, ground), ground

    def _tile(self, paint: Paint) -> tuple[Color, Color]:
        hue = self._hues[paint.hue]
        if paint.lit:
            ground = self.background.blend(hue, _LIT + _LIT_STEP * paint.step)
            return readable(self.background, ground), ground
        ground = self.background.blend(hue, 0.05 + 0.1 * paint.step if paint.hue == "bits" else _TINTS[paint.step - 1])
        return readable(hue, ground), ground

    def _style(self, name: str) -> Style | None:
        """The style of a paint by its name; None for the name of anything else."""
        part, *details = name.split(" ")
        if part not in ("tile", "bar"):
            return None
        hue, step, *lit = details
        paint = Paint(part, hue, int(step), bool(lit))
        text, ground = self.colours(paint)
        reverse = self._ansi and paint.lit and paint.part == "tile"
        return Style(foreground=text, background=ground, bold=paint.lit or None, reverse=reverse or None)
