"""The settings screen by its keys: every change is in the file, told to the app, and can be taken back."""

import asyncio
from pathlib import Path
from threading import Event

import pytest
from textual.widgets import Input

from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.settings.editors import ValueEditor
from qwen_tui.settings.list_view import SettingList
from qwen_tui.settings.rows import rows_of
from qwen_tui.settings.tree import FIELDS
from support.settings_stage import ACTIONS, SettingsStage, settings_stage


def row_name(here: SettingsStage) -> str:
    row = here.screen._list.row
    return "" if row is None else row.field.name


async def test_a_number_is_typed_saved_and_told(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("temperature")
        await here.press("enter")
        assert isinstance(here.screen.focused, ValueEditor)
        await here.type("0.7")
        await here.press("enter")
        await here.told("Saved: temperature = 0.7")
        assert isinstance(here.screen.focused, SettingList)
        assert here.file().saved.generation.temperature == 0.7
        key, loaded = here.app.changes[-1]
        assert (key, loaded.settings.generation.temperature) == ("generation.temperature", 0.7)
        assert [line for line in here.lines() if "▸  temperature" in line and "0.7" in line and "file" in line]


async def test_a_wrong_value_says_what_is_accepted_and_can_be_mended(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("temperature")
        await here.press("enter")
        await here.type("warm")
        await here.press("enter")
        await here.told("a number from 0 to 100")
        assert isinstance(here.screen.focused, ValueEditor)
        assert here.screen.focused.text == "warm"
        assert here.app.changes == []
        assert not here.path.exists()
        await here.press(*["backspace"] * 4, "1", "enter")
        await here.told("Saved")
        assert here.file().saved.generation.temperature == 1.0


async def test_escape_leaves_the_field_as_it_was_then_the_screen(tmp_path: Path) -> None:
    async with settings_stage(tmp_path, content="[generation]\ntop_k = 5\n") as here:
        await here.to("top_k")
        await here.press("enter", "6", "escape")
        assert isinstance(here.screen.focused, SettingList)
        assert not here.screen.query_one("#value-bar").has_class("-open")
        assert here.file().saved.generation.top_k == 5
        assert here.left == []
        await here.press("escape")
        await here.wait(lambda: here.left, "the end of the screen")
        assert here.app.changes == []


@pytest.mark.parametrize(
    ("keys", "value"),
    [(["enter"], "on"), (["space"], "on"), (["right"], "on"), (["left"], "off"), (["right"] * 3, "auto")],
)
async def test_choices_go_round(tmp_path: Path, keys: list[str], value: str) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("side_panel")
        await here.press(*keys)
        await here.told(f"Saved: side_panel = {value}")
        assert here.file().saved.looks.side_panel == value
        assert [change.settings.looks.side_panel for _, change in here.app.changes][-1] == value
        assert len(here.app.changes) == len(keys)


async def test_a_switch_a_choice_that_may_be_unset_and_the_themes_there_are(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("repetition_guard")
        await here.press("space")
        await here.told("repetition_guard = on")
        await here.to("effort")
        await here.press("right", "left")
        await here.told("effort = not set")
        await here.press("left")
        await here.told("effort = xhigh")
        await here.to("theme")
        await here.press("enter")
        await here.told("theme = paper")
        saved = here.file().saved
        assert (saved.generation.repetition_guard, saved.generation.effort) == (True, "xhigh")
        assert saved.looks.theme == "paper"


@pytest.mark.parametrize("key", ["backspace", "delete"])
async def test_a_value_goes_back_to_its_default(tmp_path: Path, key: str) -> None:
    content = "[generation]\ntop_k = 5\n[composer]\npaste_lines = 9\n"
    async with settings_stage(tmp_path, content=content) as here:
        await here.to("top_k")
        await here.press(key)
        await here.told("top_k = not set")
        await here.to("paste_lines")
        await here.press(key)
        await here.told("paste_lines = 20")
        await here.press(key)
        await here.told("is the same in the file already")
        saved = here.file().saved
        assert (saved.generation.top_k, saved.composer.paste_lines) == (None, 20)
        assert len(here.app.changes) == 2


async def test_letters_filter_and_a_change_is_taken_back_in_sight(tmp_path: Path) -> None:
    async with settings_stage(tmp_path, content="[generation]\ntop_k = 5\n") as here:
        for word in ("kept", "jump", "quick", "top_k"):
            await here.type(word)
            assert here.screen.query_one("#filter", Input).value == word
            assert here.left == []
            if word != "top_k":
                await here.press("escape")
        assert "^Z undo" not in here.text()
        await here.press("down")
        await here.press("delete")
        await here.told("top_k = not set")
        assert "^Z undo" in here.text()
        await here.press("right")  # nothing to go through
        await here.press("ctrl+z")
        await here.told("top_k = 5")
        assert here.file().saved.generation.top_k == 5
        assert "^Z undo" not in here.text()
        await here.press("ctrl+z")
        await here.told("Nothing was changed")
        assert here.file().saved.generation.top_k == 5


async def test_a_value_is_unset_by_leaving_nothing(tmp_path: Path) -> None:
    async with settings_stage(tmp_path, content="[generation]\nseed = 5\n") as here:
        await here.to("seed")
        await here.press("enter", "backspace", "enter")
        await here.told("seed = not set")
        assert here.file().saved.generation.seed is None


async def test_a_system_prompt_has_lines_and_a_number_has_none(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("system")
        await here.press("enter")
        await here.type("Be brief.")
        await here.press("ctrl+j")
        await here.type("Answer in Chinese.")
        await here.press("enter")
        await here.told("Saved")
        assert here.file().saved.generation.system == "Be brief.\nAnswer in Chinese."
        await here.to("seed")
        await here.press("enter", "1", "ctrl+j", "2", "tab", "enter")
        await here.told("seed = 12")


async def test_an_overridden_value_says_so_and_the_file_is_what_changes(tmp_path: Path) -> None:
    environ = {"QWEN_TUI_GENERATION_TOP_P": "0.8"}
    async with settings_stage(tmp_path, environ=environ, overrides={"generation.seed": 3}) as here:
        await here.to("top_p")
        assert "QWEN_TUI_GENERATION_TOP_P makes it 0.8" in here.text()
        await here.press("enter")
        await here.type("0.5")
        await here.press("enter")
        await here.told("in the file")
        assert here.file().saved.generation.top_p == 0.5
        assert here.app.changes[-1][1].settings.generation.top_p == 0.8
        assert "0.8  (file: 0.5)" in here.text()
        await here.to("seed")
        assert "the command line makes it 3" in " ".join(here.text().split())


# Walking and finding.


async def test_the_cursor_walks_over_settings_alone(tmp_path: Path) -> None:
    names = [*(entry.name for entry in FIELDS), *(name for name, _, _ in ACTIONS)]
    async with settings_stage(tmp_path) as here:
        walked = [row_name(here)]
        for _ in range(len(names) + 2):
            await here.pilot.press("down")
            if row_name(here) != walked[-1]:
                walked.append(row_name(here))
        assert walked == names
        await here.press("home")
        assert row_name(here) == names[0]
        assert "Generation  How answers" in here.text(), "its heading is in view"
        await here.press("end")
        assert row_name(here) == names[-1]
        await here.press("up")
        assert row_name(here) == names[-2]
        await here.press("pageup", "pageup", "pageup", "pageup")
        assert row_name(here) == names[0]
        await here.press("pagedown")
        assert names.index(row_name(here)) > 5
        await here.press("up")
        assert f"▸  {row_name(here)}" in here.text()


async def test_the_filter_narrows_and_escape_takes_it_back(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.press("slash")
        await here.type("penalty")
        assert "3 of 33 settings" in here.text()
        assert "temperature" not in here.text()
        await here.press("enter", "down")
        assert row_name(here) == "frequency_penalty"
        await here.press("enter", "1", "enter")
        await here.told("frequency_penalty = 1")
        await here.press("slash")
        await here.type("qqq")
        assert "Nothing matches." in here.text()
        await here.press("enter", "enter", "space", "backspace")  # nothing there to act on
        assert len(here.app.changes) == 1
        await here.press("escape")
        assert "33 settings" in here.text()
        assert here.left == []
        await here.press("slash", "enter", "escape")
        await here.wait(lambda: here.left, "the end of the screen")


async def test_the_mouse_moves_the_cursor_and_closes_what_is_open(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        await here.to("seed")
        await here.press("enter")
        await here.pilot.click(SettingList, offset=(5, 3))
        await here.pilot.pause()
        assert row_name(here) == "max_tokens"
        assert not here.screen.query_one("#value-bar").has_class("-open")


# Files.


async def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        here.path.mkdir()
        (here.path / "in the way").touch()
        blocked = here.path / "in the way" / "config.toml"
        here.screen._path = blocked
        await here.to("seed")
        await here.press("enter", "7", "enter")
        await here.told("cannot be saved")
        assert here.app.changes[-1][1].settings.generation.seed == 7, "it counts as long as the program runs"


async def test_a_file_that_is_no_toml_is_kept_and_its_problems_are_shown(tmp_path: Path) -> None:
    async with settings_stage(tmp_path, content="no [toml\x1b[2J") as here:
        assert "is not valid TOML" in " ".join(here.text().split())
        assert "\x1b" not in here.text()
        await here.to("seed")
        await here.press("enter", "7", "enter")
        await here.told("config.toml.old-1")
        assert here.file().saved.generation.seed == 7


async def test_quick_changes_are_saved_in_their_order_and_outlive_the_screen(tmp_path: Path) -> None:
    async with settings_stage(tmp_path) as here:
        disk = Event()
        here.screen._writer.submit(disk.wait)  # a disk that takes its time
        await here.to("preset")
        await here.press("right", "right", "escape")
        await here.wait(lambda: here.left and not here.screen.is_running, "the end of the screen")
        assert not here.path.exists()
        disk.set()
        await asyncio.to_thread(here.screen._writer.shutdown)
        assert here.file().saved.generation.preset == "coding"


async def test_the_keys_of_the_screen_are_in_its_help(tmp_path: Path) -> None:
    async with settings_stage(tmp_path, size=(100, 45)) as here:
        await here.press("f1")
        assert isinstance(here.app.screen, HelpScreen)
        told = here.text()
        assert "Keys in the settings" in told
        for words in ("walk the list", "change it: the next value", "back to the default", "filter by name"):
            assert words in told
        await here.press("escape")
        assert here.app.screen is here.screen


@pytest.mark.parametrize("size", [(40, 12), (20, 6), (10, 3), (3, 2)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_size_is_too_small_to_live(tmp_path: Path, size: tuple[int, int]) -> None:
    async with settings_stage(tmp_path, size, content="[generation]\ntop_k = -1\n") as here:
        await here.press("end", "up", "home", "enter", "slash", "p", "enter", "enter")
        await here.pilot.resize_terminal(100, 30)
        await here.told("Saved: preset = coding")
        assert "▸  preset" in here.text()


def test_rows_are_made_without_actions_as_well() -> None:
    assert len([row for row in rows_of() if hasattr(row, "field")]) == len(FIELDS)
