"""The help screen and the command palette: the keys of where the person is can be found, at every size."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input

from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.app.help_text import HelpText, Section, help_lines
from qwen_tui.composer.slash import COMMANDS
from qwen_tui.settings.key_help import key_help
from qwen_tui.text.safe import cells
from support.app_stage import Stage, stage
from support.inspector_stage import inspect

SIZES = pytest.mark.parametrize("size", [(100, 30), (60, 20), (40, 15)], ids=lambda size: f"{size[0]}x{size[1]}")


def sections(here: Stage) -> dict[str, str]:
    """The text of the help that is open, by heading."""
    screen = here.app.screen
    assert isinstance(screen, HelpScreen)
    return {
        section.heading: "".join(f"{line}\n" for line in ("", *(part for row in section.rows for part in row)))
        for section in screen.query_one(HelpText).sections
    }


async def help_of(here: Stage, key: str = "f1") -> dict[str, str]:
    await here.pilot.press(key)
    await here.wait(lambda: isinstance(here.app.screen, HelpScreen), "the help")
    await here.pilot.pause()
    found = sections(here)
    await here.pilot.press("escape")
    await here.wait(lambda: not isinstance(here.app.screen, HelpScreen), "the end of the help")
    return found


async def test_each_place_has_its_own_help() -> None:
    async with stage() as here:
        chat = await help_of(here)
        assert "\nsend\n" in chat["Keys in the chat"]
        assert "Ctrl+J or Shift+Enter or Alt+Enter\na new line" in chat["Keys in the chat"]
        assert "Ctrl+R" in chat["Keys in the chat"]
        assert "Ctrl+N\n" in chat["Keys everywhere"]
        assert "Ctrl+P\ncommand palette" in chat["Keys everywhere"]
        for command in COMMANDS:
            assert f"{command.usage}\n{command.help}\n" in chat["Commands"]
        await inspect(here)
        layers = await help_of(here, "ctrl+g")
        assert "Commands" not in layers, "they can be typed in the chat alone"
        assert "← → ↑ ↓ or h l k j\nwalk the map" in layers["Keys in the layers"]
        assert "n N\nnext match" in layers["Keys in the layers"]
        assert "a new line" not in layers["Keys in the layers"]
        assert "Ctrl+N\n" not in layers["Keys everywhere"], "it does nothing there"
        await here.press("slash")
        writing = await help_of(here)
        assert "\nc\n" not in writing["Keys in the layers"], "it is written into the filter"
        assert "\n/\n" not in writing["Keys in the layers"]
        assert "\nEsc\n" in writing["Keys in the layers"]
        await here.press("escape", "t")
        assert "\no\n" in (await help_of(here))["Keys in the layers"]
        await here.press("t", "enter")
        assert "← → or h l\nthe same tensor" in (await help_of(here))["Keys of a tensor"]


async def test_help_by_command() -> None:
    async with stage(size=(100, 60)) as here:
        await here.enter("/help")
        await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
        await here.pilot.pause()
        assert "Keys in the chat" in here.text()


@pytest.mark.parametrize("way", ["escape", "q", "enter", "f1", "ctrl+g"])
async def test_every_way_out(way: str) -> None:
    async with stage() as here:
        await here.pilot.press("f1")
        await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
        await here.pilot.press(way)
        await here.wait(lambda: here.app.screen is here.app.chat, f"{way} to close it")


@SIZES
async def test_all_of_the_help_can_be_reached_by_keyboard(size: tuple[int, int]) -> None:
    async with stage(size=size) as here:
        await here.pilot.press("f1")
        await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
        await here.settle()
        rows = [key for section in here.app.screen.query_one(HelpText).sections for key, _ in section.rows]
        looks = [here.text()]
        while len(looks) < 2 or looks[-1] != looks[-2]:
            await here.pilot.press("pagedown")
            await here.pilot.pause()
            looks.append(here.text())
        seen = "\n".join(looks)
        for row in rows:
            assert all(word in seen for word in row.split()), row
        assert "the mouse." in here.text(), "the last line is in view at the end"
        assert "Esc closes" in here.text()


@pytest.mark.parametrize(("down", "up"), [("down", "up"), ("j", "k"), ("pagedown", "pageup"), ("end", "home")])
async def test_every_way_to_scroll(down: str, up: str) -> None:
    async with stage(size=(60, 20)) as here:
        await here.pilot.press("f1")
        await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
        await here.settle()
        assert "Keys in the chat" in here.text()
        await here.pilot.press(*[down] * 3)
        await here.wait(lambda: "Keys in the chat" not in here.text(), f"{down} to scroll")
        await here.pilot.press(*[up] * 3)
        await here.wait(lambda: "Keys in the chat" in here.text(), f"{up} to scroll back")


@given(width=st.integers(12, 120), key=st.text("ab 東", max_size=40), meaning=st.text("cd 東", max_size=200))
def test_lines_of_the_help_fit_and_lose_no_word(width: int, key: str, meaning: str) -> None:
    lines = [line.plain for line in help_lines([Section("Keys", ((key, meaning),))], "The end.", width)]
    assert "Keys" in lines
    written = "".join("".join(lines).split())
    assert all(written.count(sign) >= (key + meaning).count(sign) for sign in "abcd東")
    assert max(map(cells, lines)) <= max(width, 20)


async def test_the_help_is_one_widget() -> None:
    """A widget for each key made it the screen that opened slowest."""
    async with stage() as here:
        await here.press("f1")
        assert len(here.app.screen.query("*")) < 10


class Field(Input):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+b", "bold", "Bold", show=False, id="bold")]

    def action_bold(self) -> None: ...


class Place(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "go(1)", "Go on", id="on"),
        Binding("f6", "go(-1)", "Go back", id="back"),
        Binding("f7", "gpu", "GPU figures", tooltip="What the GPU does"),
        Binding("x", "cross", "Cross"),
        Binding("f8", "silent", ""),
        Binding("ctrl+f8", "turn('one')", "One thing"),
        Binding("ctrl+f9", "turn('other')", "Another"),
        Binding("f9", "never", "Never"),
    ]

    def compose(self) -> ComposeResult:
        yield Field()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "never"


class Host(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+n", "new", "New thing", id="new")]

    def get_default_screen(self) -> Screen[None]:
        return Place()


async def test_keys_are_those_that_count_now() -> None:
    app = Host()
    async with app.run_test() as pilot:
        told = key_help(app.screen)
        assert told.place == "in the place"
        assert told.keys == (
            ("Ctrl+B", "bold"),
            ("F5 F6", "go on, go back"),
            ("F7", "What the GPU does"),
            ("Ctrl+F8", "one thing"),
            ("Ctrl+F9", "another"),
        ), "x is written into the field, F8 says nothing, F9 does nothing, and no binding of the toolkit is told"
        assert told.general == (
            ("Ctrl+N", "new thing"),
            ("Ctrl+P", "command palette: everything that can be done, by name"),
        )
        app.set_keymap({"on": "f10,ctrl+o", "new": "ctrl+y"})
        app.screen.set_focus(None)
        await pilot.pause()
        told = key_help(app.screen)
        assert ("x", "cross") in told.keys
        assert any("F10" in keys and "Ctrl+O" in keys and "F6" in keys for keys, _ in told.keys)
        assert not any("F5" in keys for keys, _ in told.keys)
        assert ("Ctrl+Y", "new thing") in told.general


@pytest.mark.parametrize("size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen_of_another_help(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(size=size) as here:
        await here.press("f3")
        await here.press("f1")
        drawn = here.snapshot()
    assert drawn == snapshot
