"""The inspector under the test pilot: opened at any time, in every way, and left again."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from qwen_core.protocol.events import Command, Load, Loaded, LoadFailed, LoadProgress, TurnStarted
from qwen_tui.layers.screen import InspectorScreen
from support.app_stage import stage
from support.checkpoints import write_checkpoint
from support.fake_engine import MODEL, Step, delta, done, loads_only
from support.inspector_stage import below_rule, inspect


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    return path


async def test_it_opens_while_an_answer_streams_and_the_answer_goes_on_beneath(full: Path) -> None:
    async with stage(loads_only) as here:
        await here.ask("count")
        await here.feed(TurnStarted(1, 20, 0), delta(1, ("answer", "1, 2, 3"), count=3))
        await here.write("my draft")
        await inspect(here, full)
        assert "a token reads 19.99 GB (19,994,594,368 B) · 17.3 tok/s" in here.lines()[2]
        assert "17.3 tok/s" in here.lines()[-1]
        assert "● decoding" in here.lines()[0]
        await here.feed(delta(1, ("answer", ", 4, 5\n\nthe end"), count=40))
        await here.settle()
        assert "40 tokens" in here.lines()[-1]
        await here.feed(done(1, "1, 2, 3, 4, 5\n\nthe end"))
        await here.settle()
        assert "● ready" in here.lines()[0]
        assert "follow its recipe" in here.lines()[2]
        await here.press("escape")
        assert here.app.screen is here.app.chat
        assert "1, 2, 3, 4, 5" in here.text()
        assert "the end" in here.text()
        assert here.app.chat.editor.text == "my draft"
        assert here.app.chat.editor.has_focus
        assert here.engine.stopped == 0  # Escape was for the inspector


async def test_it_opens_while_the_model_loads() -> None:
    async with stage(lambda command: [], ready=False) as here:
        await here.feed(LoadProgress("weights", 8_200_000_000, 21_900_000_000))
        await inspect(here)
        assert "2.74 MB a token" in here.text()
        assert "8.20 of 21.90 GB" in here.lines()[-1]
        await here.feed(Loaded(MODEL))
        await here.settle()
        assert "● ready" in here.lines()[0]


async def test_it_works_where_the_model_could_not_be_loaded() -> None:
    def script(command: Command) -> Iterable[Step]:
        return [(0.0, LoadFailed("it does not fit into memory"))] if isinstance(command, Load) else []

    async with stage(script, ready=False) as here:
        await here.wait(lambda: here.app.conversation.engine == "no model")
        await inspect(here)
        assert "✕ no model" in here.lines()[0]
        assert "UD-NVFP4_K_XL" in here.lines()[1]
        await here.press("q")
        assert "it does not fit into memory" in here.text()


async def test_a_directory_that_cannot_be_read_is_one_line_and_can_be_read_again(tmp_path: Path) -> None:
    async with stage() as here:
        here.app.context.inspection.path = str(tmp_path)
        await here.pilot.press("f2")
        await here.wait(lambda: "✕" in here.text(), "the error")
        assert "has no config.json" in " ".join(here.text().split())
        await here.pilot.press("down", "c", "t", "slash", "enter", "s", "n", "end")  # nothing there to act on
        await here.settle()
        assert isinstance(here.app.screen, InspectorScreen)
        write_checkpoint(tmp_path)
        await here.pilot.press("r")
        await here.wait(lambda: "mixer" in here.text(), "the map")
        await here.settle()
        assert "✕" not in here.text()
        await here.press("escape")
        await here.ask("still there?")
        await here.settle()
        assert "You said: still there?" in here.text()


async def test_a_model_that_changed_on_disk_is_read_again(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "q4")
    async with stage() as here:
        await inspect(here, tmp_path)
        assert "UD-Q4_K_XL" in here.lines()[1]
        assert "0 … 15" in below_rule(here)
        write_checkpoint(tmp_path, "q8")
        await here.pilot.press("r")
        await here.wait(lambda: "UD-Q8_K_XL" in here.lines()[1], "the new layout")
        await here.settle()
        assert "0 … 255" in below_rule(here)


@pytest.mark.parametrize(
    ("way", "back"), [("f2", "escape"), ("ctrl+l", "q"), ("/inspect", "f2"), ("palette", "ctrl+l")]
)
async def test_there_are_four_ways_in_and_out(way: str, back: str) -> None:
    async with stage() as here:
        if way == "/inspect":
            await here.enter(way)
        elif way == "palette":
            await here.pilot.press("ctrl+p")
            await here.pilot.press(*"layers")
            await here.wait(lambda: "▸ Layers" in here.text())
            await here.pilot.press("enter")
        else:
            await here.pilot.press(way)
        await here.wait(lambda: isinstance(here.app.screen, InspectorScreen), "the inspector")
        await here.pilot.press(back)
        await here.wait(lambda: here.app.screen is here.app.chat, "the chat")


async def test_ctrl_c_stops_the_answer_and_asks_before_it_quits_here_as_well() -> None:
    async with stage(loads_only) as here:
        await here.ask("count")
        await here.feed(delta(1, ("answer", "1")))
        await inspect(here)
        await here.pilot.press("ctrl+c")
        await here.wait(lambda: here.engine.stopped == 1)
        await here.feed(done(1, "1", reason="cancelled"))
        await here.pilot.press("ctrl+n")  # not where the conversation is out of sight
        assert len(here.app.conversation.turns) == 1
        await here.pilot.press("ctrl+c")
        await here.wait(lambda: "Ctrl+C again" in here.lines()[-1])
        await here.pilot.press("ctrl+c")
        await here.wait(lambda: not here.app.is_running)
