"""What is drawn, in each theme: no text of a list or in the help is harder to read than it may be, and the row that the
cursor is on looks alike in all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.style import Style
from textual.color import Color
from textual.geometry import Region

from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.app.model_lines import ModelLine
from qwen_tui.app.models_screen import ModelsScreen
from qwen_tui.app.palette import EntryPicker, ThemePicker
from qwen_tui.conversation_list.screen import ConversationsScreen
from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import theme_folder
from qwen_tui.widgets.contrast import contrast
from qwen_tui.widgets.cursor_list import MARK
from support.app_stage import Stage, stage
from support.conversations_stage import NOW, furnish, opened, shelf
from support.fake_engine import loads_only
from support.inspector_stage import inspect
from support.lens_stage import LensEngine, looked
from support.settings_stage import SettingsStage, settings_stage

THEMES = [theme.name for theme in ThemeWatch([theme_folder()]).current.themes]
MODELS = {
    "/open": ("UD-NVFP4_K_XL", 21 << 30),
    "/tight": ("UD-Q8_K_XL", 48 << 30),
    "/large": ("UD-Q4_K_XL", 130 << 30),
    "/gone": ("", 0, "'/gone' does not exist"),
}
CONTENT = '[generation]\ntemperature = 0.6\ntop_p = 7\n[keys]\nnew = "f9"\n'


def colours(style: Style) -> tuple[Color, Color]:
    """(text, ground) as the terminal shows them."""
    assert style.color is not None
    assert style.bgcolor is not None
    assert not style.dim, "drawn fainter than the theme says"
    pair = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
    return (pair[1], pair[0]) if style.reverse else pair


def chosen(here: SettingsStage | Stage) -> set[tuple[str, str]]:
    """(text, ground) of all words on the rows that the cursor is on."""
    return {
        (text.hex, ground.hex)
        for strip in here.strips()
        if MARK in strip.text
        for segment in strip.crop(strip.text.index(MARK))
        if any(character.isalnum() for character in segment.text)
        and segment.style is not None
        and segment.style.reverse
        for text, ground in [colours(segment.style)]
    }


def looks_chosen(here: SettingsStage | Stage) -> None:
    """One row has the cursor, all of it in the two colours of the theme."""
    theme = here.app.current_theme
    assert chosen(here) == {(str(theme.background).upper(), str(theme.foreground).upper())}


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
        looks_chosen(here)
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
        await here.wait(lambda: isinstance(here.app.screen, EntryPicker), "the commands")
        for keys in (["down"], [*"think"], ["enter"]):
            await here.press(*keys)
            looks_chosen(here)
            assert list(hard_to_read(here, here.app.screen.query_one("#box").region, least)) == []
        await here.press("escape")
        await here.enter("/theme")
        await here.wait(lambda: isinstance(here.app.screen, ThemePicker), "the themes")
        for _ in range(len(THEMES)):  # each shows itself
            await here.press("up")
            if here.app.theme != "ansi":
                looks_chosen(here)
                least = 7.0 if here.app.theme == "high-contrast" else 4.5
                assert list(hard_to_read(here, here.app.screen.region, least)) == []


@pytest.mark.parametrize("theme", THEMES)
async def test_every_list_can_be_read_and_chosen_rows_look_alike(theme: str, tmp_path: Path) -> None:
    """Each row of each list with the cursor on it."""
    least = 7.0 if theme == "high-contrast" else 4.5
    shelved = shelf(tmp_path)
    made = furnish(shelved)
    try:
        async with stage(loads_only, size=(100, 30)) as here:
            here.app.theme = theme
            whole = here.app.screen.region

            async def walk(rows: int) -> None:
                for _ in range(rows):
                    await here.pilot.press("down")
                    await here.pilot.pause()
                    looks_chosen(here)
                    assert list(hard_to_read(here, whole, least)) == []

            await here.write("/se")
            await here.pilot.press("t")
            await walk(2)
            await here.pilot.press("escape")
            lines = {path: ModelLine(path, path, *facts) for path, facts in MODELS.items()}
            models = ModelsScreen([(p, p) for p in lines], next(iter(lines)), 48 << 30, 64 << 30, lambda p, _: lines[p])
            await here.app.push_screen(models)
            await here.settle()
            box = models.query_one("#box").region
            for _ in lines:
                looks_chosen(here)
                assert list(hard_to_read(here, box, least)) == []
                await here.press("down")
            await here.press("escape")
            for query in ("", "scale"):
                screen = ConversationsScreen(shelved.thread, made["formats"], query, now=lambda: NOW)
                await opened(here, screen)
                await walk(3)
                screen.dismiss()
                await here.settle()
            await inspect(here)
            await here.press("t")
            await walk(3)
    finally:
        shelved.thread.close()


@pytest.mark.parametrize("theme", THEMES)
async def test_the_lens_can_be_read(theme: str) -> None:
    """Each shade, by probability and by entropy, and what stands below the text."""
    least = 7.0 if theme == "high-contrast" else 4.5
    async with stage(LensEngine(), size=(100, 30)) as here:
        here.app.theme = theme
        await looked(here)
        for key in ("n", "down", "c", "u", "t"):
            await here.press(key)
            assert list(hard_to_read(here, here.app.screen.region, least)) == []
