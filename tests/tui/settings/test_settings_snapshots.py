"""The settings screen as committed text and styles, at four sizes and without colour.

`pytest --snapshot-update` writes them anew.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import chdir
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.events import Paste

from support.settings_stage import SettingsStage, settings_stage

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
CONTENT = '[generation]\ntemperature = 0.6\n[looks]\ntheme = "paper"\n[keys]\nnew = "f9"\n'
Scene = Callable[[SettingsStage], Awaitable[None]]


async def settings_list(here: SettingsStage) -> None:
    await here.to("top_k")


async def settings_editing(here: SettingsStage) -> None:
    await here.to("system")
    await here.press("enter")
    await here.type("Be brief. ")
    here.app.post_message(Paste("答えは短く。\r\n\x1b[2J再见。"))
    await here.wait(lambda: "再见。" in here.text(), "what was pasted")


async def settings_error(here: SettingsStage) -> None:
    await here.to("temperature")
    await here.press("enter", "x", "enter")
    await here.told("It takes")


async def settings_key(here: SettingsStage) -> None:
    await here.to("new")
    await here.press("enter", "f1")
    await here.told("F1")


async def settings_filtered(here: SettingsStage) -> None:
    await here.press("slash")
    await here.type("penalty")


SCENES: list[Scene] = [settings_list, settings_editing, settings_error, settings_key, settings_filtered]


def name(scene: Scene) -> str:
    return getattr(scene, "__name__", "scene")


async def drawn(scene: Scene, folder: Path, size: tuple[int, int], theme: str = "midnight") -> str:
    environ = {"QWEN_TUI_GENERATION_TOP_K": "40"}
    # By a relative path, so that the length of the folder's name is no part of the picture.
    with chdir(folder):
        async with settings_stage(Path(), size, content=CONTENT, environ=environ, theme=theme) as here:
            await scene(here)
            await here.pilot.pause()
            return here.snapshot()


@pytest.mark.parametrize("scene", SCENES, ids=name)
@SIZES
async def test_screen(scene: Scene, size: tuple[int, int], tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    assert await drawn(scene, tmp_path, size) == snapshot


@pytest.mark.parametrize("theme", ["midnight", "ansi"])
async def test_screen_without_colour(
    theme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = await drawn(settings_list, tmp_path, (100, 30), theme)
    assert text == snapshot
    styles = text.split("-" * 20)[-1]
    assert "color(" not in styles
    assert all(red == green == blue for red, green, blue in re.findall(r"#(..)(..)(..)", styles))
    assert ("#" in styles) == (theme == "midnight")


async def test_screen_in_the_colours_of_the_terminal(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    text = await drawn(settings_list, tmp_path, (100, 30), "ansi")
    assert text == snapshot
    assert "#" not in text.split("-" * 20)[-1], "no colours but the sixteen of the terminal"
