"""Binding keys on the settings screen: a key is pressed, not written, and what is needed cannot be given away."""

from pathlib import Path

import pytest

from qwen_tui.settings.editors import KeyCapture
from qwen_tui.settings.list_view import SettingList
from support.settings_stage import settings_stage


async def test_a_key_is_pressed_and_bound(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("new")
        await here.press("enter")
        assert isinstance(here.screen.focused, KeyCapture)
        assert "press the new key, Esc leaves" in here.text()
        await here.press("f9")
        await here.told("Saved: new = F9")
        assert here.file().saved.keys["new"] == ("f9",)
        assert here.app.changes[-1][0] == "keys.new"
        await here.press("backspace")
        await here.told("Saved: new = Ctrl+N")
        assert "new" not in here.file().saved.keys
        await here.press("enter", "f9", "enter", "ctrl+n")
        await here.told("Saved: new = Ctrl+N")
        assert "new" not in here.file().saved.keys, "the built-in key again"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("f1", "F1 is the key of help"),
        ("ctrl+q", "Ctrl+Q is the key of quit"),
        ("enter", "needed"),
        ("tab", "needed"),
        ("a", "a character"),
        ("slash", "a character"),
        ("ctrl+w", "edits text"),
    ],
)
async def test_a_key_that_is_needed_is_refused_and_the_next_is_awaited(tmp_path: Path, key: str, reason: str) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("new")
        await here.press("enter", key)
        await here.told(reason)
        assert isinstance(here.screen.focused, KeyCapture)
        assert (here.app.changes, here.app.quits) == ([], 0)
        assert here.app.screen is here.screen
        await here.press("escape")
        assert isinstance(here.screen.focused, SettingList)
        assert not here.path.exists()
        await here.press("ctrl+q")
        assert here.app.quits == 1, "keys act again"


async def test_a_key_that_was_given_away_is_free_again(tmp_path: Path) -> None:
    async with settings_stage(tmp_path, content='[keys]\nnew = "f9"\n') as here:
        await here.to("inspect")
        await here.press("enter", "f9")
        await here.told("F9 is the key of new")
        await here.press("ctrl+n")
        await here.told("Saved: inspect = Ctrl+N")


async def test_an_action_that_has_a_letter_takes_another(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("turn_edit")
        await here.press("enter", "x")
        await here.told("Saved: turn_edit = x")
        assert here.file().saved.keys["turn_edit"] == ("x",)
