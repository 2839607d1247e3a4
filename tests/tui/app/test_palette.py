"""The command palette and the themes: what is found, what keys stand there, what is in use, and what choosing does."""

from collections.abc import Awaitable, Callable

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.app.palette import EntryPicker, ThemePicker, entries_of, ranked
from qwen_tui.composer.slash import COMMANDS
from support.app_stage import Stage, stage

SIZES = [(40, 15), (60, 20), (100, 30), (160, 45)]
Scene = Callable[[Stage], Awaitable[None]]


async def commands(here: Stage) -> None:
    await here.press("ctrl+p", "down")


async def commands_search(here: Stage) -> None:
    await here.press("ctrl+p", *"reason")


async def commands_choices(here: Stage) -> None:
    await here.press("ctrl+p", *"preset", "enter")


async def themes(here: Stage) -> None:
    await here.enter("/theme")
    await here.settle()


@pytest.mark.parametrize(
    "scene", [commands, commands_search, commands_choices, themes], ids=lambda scene: getattr(scene, "__name__", "")
)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen(scene: Scene, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(size=size) as here:
        await scene(here)
        assert here.app.screen.query_one("#box").region.width <= 76, "not as wide as the screen"
        drawn = here.snapshot()
    assert drawn == snapshot


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_box_is_as_high_as_what_is_found_and_its_head_stays(size: tuple[int, int]) -> None:
    async with stage(size=size) as here:
        await here.press("ctrl+p")
        box = here.app.screen.query_one("#box")
        before = box.region
        await here.press(*"system")
        await here.settle()
        assert (box.region.y, box.region.height) == (before.y, 5), "two edges, the field with its line, one row"
        await here.press(*(["backspace"] * 6))
        await here.settle()
        assert box.region == before


def picked(here: Stage) -> str:
    screen = here.app.screen
    assert isinstance(screen, EntryPicker) and screen.list.row is not None
    return screen.list.row.title


@pytest.mark.parametrize(
    ("text", "first", "also"),
    [
        ("system", "System prompt", ()),
        ("meter", "Meters", ()),
        ("reason", "Reasoning effort", ("Reasoning",)),
        ("sampl", "Sampling", ("Preset",)),
        ("exit", "Quit", ()),
        ("temperature", "Sampling", ()),
        ("coding", "Preset", ()),
        ("/retry", "Answer again", ()),
        ("f2", "Layers", ()),
        ("colours", "Theme", ()),
        ("last the", "Delete the last turn", ()),
    ],
)
async def test_words_find_what_they_mean(text: str, first: str, also: tuple[str, ...]) -> None:
    async with stage() as here:
        await here.press("ctrl+p")
        await here.type(text)
        assert picked(here) == first
        screen = here.app.screen
        assert isinstance(screen, EntryPicker)
        assert {first, *also} <= {entry.title for entry in screen.found(text)}


async def test_no_entry_says_what_another_says() -> None:
    async with stage() as here:
        entries = entries_of(here.app.commands, lambda action: action)
        for shown in ([entry.title for entry in entries], [entry.about for entry in entries]):
            assert len(set(shown)) == len(shown)
        for entry in entries:
            ways = [entry.write, entry.action, entry.choices, entry.call if not entry.choices else None]
            assert len([way for way in ways if way]) == 1, f"{entry.title} does one thing"
        assert len(entries) > len(COMMANDS)
        assert ranked(entries, "") == entries


async def test_keys_are_those_that_count_now() -> None:
    async with stage(size=(160, 45)) as here:
        here.app.appearance.use_keys({"layers": ["f9"]})
        for title, key in (
            ("Layers", "F9"),
            ("Help", "F1"),
            ("New conversation", "Ctrl+N"),
            ("Answer again", "/retry"),
        ):
            await here.press("ctrl+p")
            await here.type(title)
            assert any(title in line and f" {key} " in line for line in here.lines()), title
            await here.press("escape")


async def test_choosing_calls_writes_or_acts() -> None:
    async with stage() as here:
        await here.press("ctrl+p", *"help", "enter")
        assert isinstance(here.app.screen, HelpScreen)
        await here.press("escape")
        panel = here.app.chat.panel.display
        await here.press("ctrl+p", *"meter", "enter")
        assert here.app.chat.panel.display is not panel
        await here.write("a draft")
        await here.press("ctrl+p", *"system", "enter")
        assert here.app.chat.editor.text == "/system "
        assert here.app.chat.editor.has_focus
        await here.press("ctrl+u", "up")
        assert here.app.chat.editor.text == "a draft"


async def test_a_choice_is_made_in_a_second_list_that_marks_what_is_in_use() -> None:
    async with stage() as here:
        await here.press("ctrl+p", *"preset", "enter")
        assert picked(here) == "auto"
        assert any("auto" in line and "in use" in line for line in here.lines())
        await here.press("down", "down", "enter")
        assert here.app.context.running.generation.preset == "coding"
        await here.press("ctrl+p", *"preset", "enter")
        assert picked(here) == "coding"


async def test_a_theme_is_seen_before_it_is_chosen_and_escape_takes_it_back() -> None:
    async with stage() as here:
        seen = ""
        for way in ("escape", "enter"):
            await here.enter("/theme")
            await here.settle()
            assert picked(here) == here.app.theme == "midnight"
            await here.press(*"paper")
            assert here.app.theme == "paper"
            await here.press(*["backspace"] * 5, "up")
            seen = here.app.theme
            assert seen == picked(here) != "midnight"
            await here.press(way)
            assert not isinstance(here.app.screen, ThemePicker)
        assert here.app.theme == here.app.context.running.looks.theme == seen


async def test_it_opens_over_the_chat_alone() -> None:
    async with stage() as here:
        await here.press("f5", "ctrl+p")
        assert not isinstance(here.app.screen, EntryPicker)
        await here.press("escape", "ctrl+p", "ctrl+p")
        assert isinstance(here.app.screen, EntryPicker)
        await here.press("escape")
        assert here.app.screen is here.app.chat
