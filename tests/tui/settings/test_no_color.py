"""Without colour: greys of the same lightness, nothing that vanishes, and what colour told told by something else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color as RichColor
from rich.style import Style
from textual.app import App, ComposeResult
from textual.content import Content
from textual.widgets import Static

from qwen_tui.settings.no_color import respect_no_color, without_colour
from qwen_tui.settings.themes import ANSI_THEME, FALLBACK_THEME
from qwen_tui.widgets.phase_look import PHASES

TRIPLET = st.builds(lambda value: f"#{value:06x}", st.integers(0, 0xFFFFFF))
TERMINAL = st.one_of(st.just("default"), st.integers(0, 15).map(lambda number: f"color({number})"))
FLAGS = st.builds(lambda bold, reverse: Style(bold=bold, reverse=reverse, underline=not bold), *[st.booleans()] * 2)


@given(TRIPLET, TRIPLET, FLAGS)
def test_colours_become_greys_and_everything_else_stays(fore: str, back: str, flags: Style) -> None:
    style = without_colour(Style(color=fore, bgcolor=back) + flags)
    for color in (style.color, style.bgcolor):
        assert color is not None
        assert color.triplet is not None
        assert len(set(color.triplet)) == 1
    assert (style.bold, style.reverse, style.underline) == (flags.bold, flags.reverse, flags.underline)


@given(st.one_of(TRIPLET, TERMINAL, st.none()), st.one_of(TERMINAL, st.none()), FLAGS, st.booleans())
def test_where_the_terminal_has_a_say_it_has_both(
    one: str | None, other: str | None, flags: Style, swapped: bool
) -> None:
    """A grey on a ground that nobody knows could vanish."""
    fore, back = (other, one) if swapped else (one, other)
    style = without_colour(Style(color=fore, bgcolor=back) + flags)
    assert style.color in (None, RichColor.default())
    assert style.bgcolor in (None, RichColor.default())
    assert (style.bold, style.reverse, style.underline) == (flags.bold, flags.reverse, flags.underline)


class Page(App[None]):
    CSS = "Static { width: 1fr; } #cursor { background: $primary; color: $background; }"

    def __init__(self) -> None:
        super().__init__()
        for theme in (FALLBACK_THEME, ANSI_THEME):
            self.register_theme(theme)
        self.theme = FALLBACK_THEME.name
        respect_no_color(self)

    def compose(self) -> ComposeResult:
        yield Static(Content.styled("words", "$error"))
        yield Static("cursor", id="cursor")

    def styles_drawn(self) -> set[str]:
        return {str(segment.style) for strip in self.screen._compositor.render_strips() for segment in strip}


@pytest.mark.parametrize("asked", [True, False])
async def test_colours_are_taken_only_where_that_was_asked_for(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if asked:
        monkeypatch.setenv("NO_COLOR", "1")
    app = Page()
    async with app.run_test(size=(20, 5)) as pilot:
        await pilot.pause()
        found = re.findall(r"#(..)(..)(..)", " ".join(app.styles_drawn()))
        assert all(red == green == blue for red, green, blue in found) == asked
        app.theme = ANSI_THEME.name
        await pilot.pause()
        await pilot.pause()
        drawn = app.styles_drawn()
        assert not any("#" in style for style in drawn), "no colours but the terminal's own"
        assert any("color(" in style for style in drawn) != asked
        app.theme = FALLBACK_THEME.name
        await pilot.pause()
        await pilot.pause()
        assert any("#" in style for style in app.styles_drawn())


def test_each_phase_has_a_word_of_its_own() -> None:
    assert len({look.word for look in PHASES.values()}) == len(PHASES)
    assert all(look.glyph.strip() for look in PHASES.values())
