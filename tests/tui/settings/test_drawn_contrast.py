"""What is drawn, in each theme: no text on the settings screen or in the help is harder to read than it may be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.style import Style
from textual.color import Color
from textual.command import CommandList
from textual.geometry import Region

from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.layers.palette import contrast
from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import theme_folder
from support.app_stage import Stage, stage
from support.settings_stage import SettingsStage, settings_stage

THEMES = [theme.name for theme in ThemeWatch([theme_folder()]).current.themes]
CONTENT = '[generation]\ntemperature = 0.6\ntop_p = 7\n[keys]\nnew = "f9"\n'


def colours(style: Style) -> tuple[Color, Color]:
    """(text, ground) as the terminal shows them."""
    assert style.color is not None
    assert style.bgcolor is not None
    assert not style.dim, "drawn fainter than the theme says"
    pair = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
    return (pair[1], pair[0]) if style.reverse else pair


def hard_to_read(here: SettingsStage | Stage, region: Region, least: float) -> Iterator[str]:
    for number, strip in enumerate(here.strips()):
        if region.y <= number < region.bottom:
            for segment in strip.crop(region.x, region.right):
                if any(character.isalnum() for character in segment.text) and segment.style is not None:
                    text, ground = colours(segment.style)
                    if contrast(text, ground) < least:
                        yield f"{segment.text.strip()}: {text.hex} on {ground.hex}"


@pytest.mark.parametrize("theme", THEMES)
async def test_every_word_can_be_read(theme: str, tmp_path: Path) -> None:
    least = 7.0 if theme == "high-contrast" else 4.5
    environ = {"QWEN_TUI_GENERATION_TOP_K": "40"}
    async with settings_stage(tmp_path, content=CONTENT, environ=environ, theme=theme) as here:
        whole = here.screen.region
        await here.to("top_k")
        assert list(hard_to_read(here, whole, least)) == []
        await here.press("enter", "x", "enter", "ctrl+shift+left", "shift+home")
        await here.told("It takes")
        assert list(hard_to_read(here, whole, least)) == []
        await here.press("escape", "slash")
        await here.type("theme")
        assert list(hard_to_read(here, whole, least)) == []
        await here.press("escape")
        await here.to("new")
        await here.press("enter", "f1")
        await here.told("F1")
        assert list(hard_to_read(here, whole, least)) == []
        await here.press("escape", "f1")
        assert isinstance(here.app.screen, HelpScreen)
        assert list(hard_to_read(here, here.app.screen.query_one("#help").region, least)) == []


@pytest.mark.parametrize("theme", THEMES)
async def test_the_command_palette_can_be_read(theme: str) -> None:
    """Its commands with their help, the chosen one among them."""
    least = 7.0 if theme == "high-contrast" else 4.5
    async with stage(size=(100, 30)) as here:
        here.app.theme = theme
        await here.pilot.press("ctrl+p")
        found = here.app.screen.query_one(CommandList)
        await here.wait(lambda: found.option_count > 3 and found.highlighted == 0, "the commands")
        await here.pilot.pause()
        assert list(hard_to_read(here, found.region, least)) == []
