"""The help screen and the command palette: everything can be found, at every size that the app is made for."""

import pytest

from qwen_tui.keys import KEYS, LAYER_KEYS
from qwen_tui.screens.help import HelpScreen
from qwen_tui.slash import COMMANDS
from support.app_stage import play, stage


def test_help_shows_every_key_and_the_palette_finds_commands() -> None:
    async def scene() -> None:
        async with stage(size=(100, 60)) as here:
            await here.enter("/help")
            await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
            await here.pilot.pause()
            for key, _ in (*KEYS, *LAYER_KEYS):
                assert key in here.text()
            await here.pilot.press("escape", "ctrl+p")
            await here.pilot.press(*"reasoning")
            await here.wait(lambda: "Open or fold reasoning" in here.text())

    play(scene())


@pytest.mark.parametrize("size", [(100, 30), (60, 20), (40, 15)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_all_of_the_help_can_be_reached_by_keyboard(size: tuple[int, int]) -> None:
    async def scene() -> None:
        async with stage(size=size) as here:
            await here.pilot.press("f1")
            await here.settle()
            looks = [here.text()]
            while len(looks) < 2 or looks[-1] != looks[-2]:
                await here.pilot.press(*["down"] * 5)
                await here.settle()
                looks.append(here.text())
            seen = "\n".join(looks)
            for word in (*(key for key, _ in (*KEYS, *LAYER_KEYS)), *(f"/{command.name}" for command in COMMANDS)):
                assert word in seen
            assert "the mouse." in here.text(), "the last line is in view at the end"
            assert "Esc closes" in here.text()

    play(scene())
