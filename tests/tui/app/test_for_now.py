"""What is changed in the app counts for now and says so; /save, or Ctrl+S in the settings, puts it into the file."""

from pathlib import Path

import pytest
from textual.widgets import Input

from qwen_core.settings.paths import config_dir
from qwen_tui.settings.file import load_settings, origin_of, temporary
from qwen_tui.settings.rows import Setting, all_saved, detail_lines, row_line, rows_of
from qwen_tui.settings.screen import SettingsScreen
from support.app_stage import Stage, stage

SIZE = (100, 30)


def told(here: Stage) -> str:
    return here.app.chat.status.flash_text


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("/theme paper", "looks.theme", "theme is paper for now; /save keeps it."),
        ("/set temperature 0.3", "generation.temperature", "temperature is 0.3 for now; /save keeps it."),
        ("/preset coding", "generation.preset", "The preset is coding for now; /save keeps it."),
        ("/think high", "generation.effort", "Reasoning effort is high for now; /save keeps it."),
        ("/draft lookup 2", "generation.draft", "Drafts are lookup, 2 a pass for now; /save keeps it."),
        ("/guard on", "generation.repetition_guard", "Answers that repeat themselves are stopped for now; /save"),
    ],
)
async def test_every_command_that_changes_a_setting_says_that_it_is_for_now_and_can_save_it(
    line: str, key: str, said: str
) -> None:
    async with stage(size=SIZE) as here:
        await here.enter(line)
        assert said in told(here)
        assert origin_of(here.app.context.loaded, key) == "for now"
        values = temporary(here.app.context.loaded)
        await here.enter("/save")
        await here.wait(lambda: told(here).startswith("Saved: "))
        assert temporary(here.app.context.loaded) == {}
        assert origin_of(here.app.context.loaded, key) == "file"
        kept = load_settings(environ={})
        assert kept.settings == here.app.context.running
        assert set(values) <= set(kept.origins) | {key for key, value in values.items() if value is None}


async def test_what_is_not_saved_is_in_no_file_and_what_is_taken_back_is_no_more_for_now() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/theme paper")
        assert not (config_dir() / "config.toml").exists()
        await here.enter("/theme midnight")
        assert told(here) == "theme is midnight."
        await here.enter("/save")
        assert told(here) == "Nothing to save: no setting was changed for now."


async def test_the_list_of_themes_changes_the_setting_as_the_command_does() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/theme")
        await here.wait(lambda: here.app.screen is not here.app.chat, "the list")
        await here.type("paper")
        await here.wait(lambda: here.app.screen.query_one(Input).value == "paper")
        await here.press("enter")
        await here.wait(lambda: here.app.theme == "paper", "the theme")
        assert temporary(here.app.context.loaded) == {"looks.theme": "paper"}
        assert "/save keeps it" in told(here)


async def test_f4_is_for_now_as_well_and_back_to_what_the_width_gives_is_nothing() -> None:
    async with stage(size=(120, 30)) as here:
        await here.press("f4")
        assert temporary(here.app.context.loaded) == {"looks.side_panel": "off"}
        assert told(here) == "side_panel is off for now; /save keeps it."
        await here.press("f4")
        assert temporary(here.app.context.loaded) == {}
        assert here.app.chat.panel.display


async def test_the_settings_screen_shows_it_and_ctrl_s_saves_it() -> None:
    async with stage(size=(120, 40)) as here:
        await here.enter("/theme paper")
        await here.enter("/settings")
        await here.wait(lambda: isinstance(here.app.screen, SettingsScreen) and here.app.screen.focused is not None)
        screen = here.app.screen
        assert isinstance(screen, SettingsScreen)
        while screen._list.row is None or screen._list.row.field.name != "theme":
            await here.pilot.press("down")
        await here.settle()
        assert "paper  (file: midnight)" in here.text()
        detail = " ".join(" ".join(here.rows_of(screen.query_one("#detail"))).split())
        assert "▲ For now: at the next start it is midnight again, unless Ctrl+S saves it." in detail
        assert "^S saves" in here.text()
        await here.press("ctrl+s")
        await here.wait(lambda: "Saved: theme = paper" in screen.status.flash_text)
        assert load_settings(environ={}).settings.looks.theme == "paper"
        assert temporary(here.app.context.loaded) == {}
        assert "^S saves" not in here.text()


def test_what_an_option_overrides_stays_for_now_and_is_in_the_file(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path / "config.toml", {}, {"generation.top_k": 5}).for_now("generation.top_k", 9)
    saved = all_saved(loaded)
    assert (saved.settings.generation.top_k, saved.saved.generation.top_k) == (9, 9)
    assert temporary(saved) == {"generation.top_k": 9}, "the option gives 5 at the next start with it"


def test_a_row_for_now_says_what_comes_back(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path / "config.toml", {}).for_now("generation.top_k", 9)
    row = next(row for row in rows_of() if isinstance(row, Setting) and row.key == "generation.top_k")
    assert row_line(row, loaded, 80, cursor=False, counts={}).plain.split() == [
        "top_k",
        "9",
        "(file:",
        "not",
        "set)",
        "for",
        "now",
    ]
    assert "at the next start it is not set again" in "\n".join(line.plain for line in detail_lines(row, loaded, {}))


def test_every_setting_that_a_key_or_command_changes_goes_through_the_context() -> None:
    """Nothing sets the toolkit's theme but what takes it from the settings, and the list that shows each meanwhile."""
    sources = Path(__file__).parents[3] / "tui" / "qwen_tui"
    setters = [path.name for path in sources.rglob("*.py") if "app.theme = " in path.read_text(encoding="utf-8")]
    assert sorted(setters) == ["appearance.py", "palette.py"]
