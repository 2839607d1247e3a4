"""The colours of the layer map: every glyph readable in every theme, classes apart, a cursor seen without colour."""

import pytest
from textual.color import Color
from textual.style import Style
from textual.theme import Theme

from qwen_tui.layers.map_text import CURSOR, Paint
from qwen_tui.layers.palette import HUES, Palette
from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import ANSI_THEME, FALLBACK_THEME, theme_folder
from qwen_tui.widgets.contrast import CONTRAST, contrast, readable

BUNDLED = ThemeWatch([theme_folder()]).current.themes
THEMES = pytest.mark.parametrize("theme", BUNDLED, ids=lambda theme: theme.name)
MODES = ("nvfp4", "mxfp4", "mxfp8", "affine", "float")
CELLS = [
    Paint(part, hue, step, lit)
    for part in ("tile", "bar")
    for hue in HUES
    for step in range(1, 9)
    for lit in (False, True)
]


def style_of(palette: Palette, paint: Paint) -> Style:
    style = palette.style(paint.style)
    assert style is not None
    return style


@THEMES
def test_every_glyph_is_readable_on_its_tile(theme: Theme) -> None:
    palette = Palette(theme)
    ratios = {paint.style: contrast(*palette.colours(paint)) for paint in CELLS}
    for name in ("foreground", "accent", "error", "muted"):
        colour = theme.variables["muted"] if name == "muted" else getattr(theme, name)
        ratios[name] = contrast(Color.parse(colour), palette.background)
    assert {name: round(ratio, 2) for name, ratio in ratios.items() if ratio < CONTRAST} == {}


@THEMES
def test_modes_have_colours_of_their_own_and_lit_tiles_are_brighter(theme: Theme) -> None:
    palette = Palette(theme)
    assert len({palette.colours(Paint("tile", hue, 4))[0].hex for hue in MODES}) == len(MODES)
    assert len({palette.colours(Paint("tile", hue, 4, lit=True))[1].hex for hue in MODES}) == len(MODES)
    for hue in MODES:
        for step in range(1, 9):
            still, lit = (palette.colours(Paint("tile", hue, step, lit))[1] for lit in (False, True))
            assert contrast(lit, palette.background) > contrast(still, palette.background)


@THEMES
def test_more_bits_stand_out_more(theme: Theme) -> None:
    palette = Palette(theme)
    for hue in ("affine", "bits"):
        grounds = [palette.colours(Paint("tile", hue, step))[1] for step in range(1, 9)]
        ratios = [contrast(ground, palette.background) for ground in grounds]
        assert ratios == sorted(ratios)
        assert len(set(ratios)) == 8


def test_in_the_colours_of_the_terminal_glyphs_stand_on_its_own_ground() -> None:
    """Sixteen colours of unknown look cannot be mixed: hues keep the formats apart, what is lit is reversed."""
    palette = Palette(ANSI_THEME)
    styles = {cell: style_of(palette, cell) for cell in CELLS}
    for cell, style in styles.items():
        assert style.background == Color.parse("ansi_default")
        assert style.foreground != style.background
        assert bool(style.reverse) == (cell.lit and cell.part == "tile")
    assert len({styles[Paint("tile", hue, 4)].foreground for hue in MODES}) == len(MODES)


def simulated(color: Color, kind: str) -> tuple[float, float, float]:
    """A colour as someone with no green (deutan) or no red (protan) receptors sees it: Viénot, Brettel, Mollon 1999."""
    red, green, blue = ((channel / 255) ** 2.2 for channel in (color.r, color.g, color.b))
    long = 17.8824 * red + 43.5161 * green + 4.11935 * blue
    middle = 3.45565 * red + 27.1554 * green + 3.86714 * blue
    short = 0.0299566 * red + 0.184309 * green + 1.46709 * blue
    if kind == "deutan":
        middle = 0.494207 * long + 1.24827 * short
    else:
        long = 2.02344 * middle - 2.52581 * short
    linear = (
        0.0809444479 * long - 0.130504409 * middle + 0.116721066 * short,
        -0.0102485335 * long + 0.0540193266 * middle - 0.113614708 * short,
        -0.000365296938 * long - 0.00412161469 * middle + 0.693511405 * short,
    )
    first, second, third = (255 * max(0.0, min(1.0, value)) ** (1 / 2.2) for value in linear)
    return first, second, third


@pytest.mark.parametrize("kind", ["deutan", "protan"])
def test_okabe_ito_keeps_the_modes_apart_for_colour_blind_eyes(kind: str) -> None:
    palette = Palette(next(theme for theme in BUNDLED if theme.name == "okabe-ito"))
    seen = {hue: simulated(palette.colours(Paint("tile", hue, 8, lit=True))[1], kind) for hue in MODES}
    for one in MODES:
        for other in MODES:
            if one < other:
                distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
                assert distance > 40, (one, other)


def test_the_cursor_and_what_is_read_are_seen_without_colour() -> None:
    palette = Palette(FALLBACK_THEME)
    assert "reverse" in CURSOR.split()
    still = style_of(palette, Paint("tile", "nvfp4", 3))
    assert not still.reverse
    assert style_of(palette, Paint("tile", "nvfp4", 3, lit=True)).bold
    assert not still.bold


def test_a_style_of_the_theme_is_not_the_palettes() -> None:
    palette = Palette(FALLBACK_THEME)
    assert [palette.style(name) for name in (CURSOR, "", "bold", "$muted")] == [None] * 4


def test_a_colour_moves_only_as_far_as_it_must() -> None:
    white, grey = Color(255, 255, 255), Color(120, 120, 120)
    assert readable(Color(60, 60, 60), white) == Color(60, 60, 60)
    moved = readable(Color(140, 140, 140), grey)
    assert contrast(moved, grey) >= CONTRAST
    assert moved != Color(140, 140, 140)
