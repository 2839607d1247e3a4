"""What is changed in the settings screen counts at once, is in the file, and is there at the next start."""

import tomllib
from pathlib import Path

from qwen_tui.app.appearance import rebindable
from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.app.help_text import HelpText
from qwen_tui.settings.file import load_settings, settings_path
from qwen_tui.settings.screen import SettingsScreen
from qwen_tui.settings.tree import field_of
from support.app_stage import Stage, stage

SIZE = (120, 40)


async def filtered(here: Stage, words: str) -> None:
    """The settings screen with the one field that `words` find under the cursor."""
    await here.pilot.press("f5")
    await here.wait(lambda: isinstance(here.app.screen, SettingsScreen))
    await here.pilot.pause()
    await here.pilot.press("slash", *words, "enter")
    await here.pilot.pause()


async def left(here: Stage) -> None:
    while here.app.screen is not here.app.chat:
        await here.pilot.press("escape")
        await here.pilot.pause()


async def test_a_theme_and_the_meters_change_at_once_and_for_good() -> None:
    async with stage(size=SIZE) as here:
        before = here.app.theme
        await filtered(here, "theme")
        await here.pilot.press("space")
        await here.wait(lambda: here.app.theme != before)
        await left(here)
        assert here.app.chat.panel.display
        await filtered(here, "panel")
        await here.pilot.press("left")
        await here.wait(lambda: here.app.context.running.looks.side_panel == "off")
        await left(here)
        assert not here.app.chat.panel.display
        theme = here.app.theme
        await here.wait(lambda: settings_path().exists() and "side_panel" in settings_path().read_text())
    assert load_settings().settings.looks.theme == theme
    assert tomllib.loads(settings_path().read_text())["looks"] == {"theme": theme, "side_panel": "off"}


async def test_a_key_that_was_bound_anew_works_and_is_told_by_the_help() -> None:
    settings_path().write_text('[keys]\nnew = "f9"\n', encoding="utf-8")
    loaded = load_settings()
    async with stage(size=SIZE, loaded=loaded) as here:
        await here.ask("one")
        await here.wait(lambda: here.app.conversation.phase == "ready")
        await here.press("ctrl+n")
        assert here.app.conversation.turns
        await here.pilot.press("f9")
        await here.wait(lambda: not here.app.conversation.turns)
        await here.pilot.press("f1")
        await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
        await here.pilot.pause()
        sections = here.app.screen.query_one(HelpText).sections
        told = [key for section in sections for keys, _ in section.rows for key in keys.split()]
        assert "F9" in told
        assert "Ctrl+N" not in told


def test_every_action_that_can_be_bound_has_one_name_and_says_what_it_does() -> None:
    from qwen_tui.app.app import QwenApp
    from qwen_tui.chat.screen import ChatScreen
    from qwen_tui.chat.turn_view import TurnView
    from qwen_tui.composer.editor import Editor

    actions = rebindable((QwenApp, ChatScreen, Editor, TurnView))
    assert len({name for name, _, _ in actions}) == len(actions) > 20
    for name, what, keys in actions:
        assert field_of(f"keys.{name}") is not None
        assert what
        assert keys


async def test_themes_of_the_persons_own_are_taken_up_when_saved(tmp_path: Path) -> None:
    from qwen_tui.settings.themes import theme_folder

    text = (theme_folder() / "midnight.toml").read_text().replace('"midnight"', '"mine"')
    async with stage(size=SIZE, theme_folders=[theme_folder(), tmp_path]) as here:
        assert "mine" not in here.app.available_themes
        (tmp_path / "mine.toml").write_text(text)
        here.app.appearance.look()
        await here.enter("/theme mine")
        assert here.app.theme == "mine"
        (tmp_path / "mine.toml").write_text(text.replace("#12141c", "#22141c"))
        here.app.appearance.look()
        await here.settle()
        assert here.app.current_theme.background == "#22141c"
        (tmp_path / "mine.toml").write_text("no theme")
        here.app.appearance.look()
        await here.settle()
        assert "mine.toml" in here.text()
        assert here.app.theme == "mine"
