"""A model that could not be loaded: what can be done is on the screen, and each of it works."""

from collections.abc import Iterator

import pytest

from qwen_core.protocol.events import Command, Load, Loaded, LoadFailed
from qwen_tui.conversation.load_advice import load_advice
from qwen_tui.layers.screen import InspectorScreen
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Script, Step, default_script

TOO_LARGE = "the weights need 54.00 GB of memory as float32 (27.00 GB on disk), but this machine has 48.00 GB"


def fails_once(failed: LoadFailed) -> Script:
    """The first load fails, the next ones do not."""
    results: Iterator[Step] = iter([(0.0, failed)])

    def script(command: Command) -> list[Step]:
        if isinstance(command, Load):
            return [next(results, (0.0, Loaded(MODEL)))]
        return list(default_script(command))

    return script


async def failed(here: Stage) -> None:
    await here.wait(lambda: here.app.conversation.engine == "no model", "the failure")
    await here.settle()


@pytest.mark.parametrize("size", [(40, 15), (60, 20), (100, 30)])
async def test_the_screen_says_what_can_be_done_and_asks_for_nothing(size: tuple[int, int]) -> None:
    async with stage(fails_once(LoadFailed(TOO_LARGE, ("bfloat16", "float16"))), size, ready=False) as here:
        await failed(here)
        said = " ".join(here.transcript().split())
        assert "54.00 GB of memory as float32" in said
        assert "/dtype bfloat16: compute in bfloat16, whose weights fit into memory" in said
        assert "ask anything" not in here.text()
        assert "no model is loaded" in here.text()
        assert "/model opens another" in here.lines()[-1]


async def test_another_type_loads_it_and_the_text_that_was_written_is_kept() -> None:
    async with stage(fails_once(LoadFailed(TOO_LARGE, ("bfloat16",))), ready=False) as here:
        await failed(here)
        await here.enter("Why?")
        assert here.app.chat.editor.text == "Why?"
        assert "/model opens another" in here.app.chat.status.flash_text
        await here.enter("/dtype bfloat16")
        await here.wait(lambda: here.app.conversation.engine == "ready", "the model")
        loads = [command for command in here.engine.commands if isinstance(command, Load)]
        assert [load.dtype for load in loads] == [None, "bfloat16"]
        assert loads[0].path == loads[1].path
        assert "until you leave; --dtype bfloat16 asks for it at the start" in " ".join(here.transcript().split())
        await here.settle()
        assert "ask anything" in here.text()


async def test_a_type_is_not_offered_where_it_would_not_help() -> None:
    async with stage(fails_once(LoadFailed("config.json is missing")), ready=False) as here:
        await failed(here)
        assert "/dtype" not in here.transcript()
        await here.press("f2")
        await here.wait(lambda: isinstance(here.app.screen, InspectorScreen), "the layers")


async def test_the_type_can_be_asked_and_changed_with_a_model_too() -> None:
    async with stage(size=(100, 30)) as here:
        await here.enter("/dtype")
        assert "The compute type is bfloat16. /dtype takes one of: float32, bfloat16" in here.app.chat.status.flash_text
        await here.enter("/dtype float64")
        assert "/dtype takes one of" in here.app.chat.status.flash_text
        await here.enter("/dtype float32")
        await here.wait(
            lambda: here.engine.commands[-1] == Load(MODEL.path, "float32", None, here.app.context.load.settings)
        )


async def test_an_engine_that_is_down_is_started_for_it() -> None:
    async with stage(size=(100, 30)) as here:
        here.engine.die("SIGKILL: memory ran out")
        await here.wait(lambda: here.app.conversation.engine == "engine down")
        await here.settle()
        assert "the engine has ended" in here.text()
        await here.enter("/dtype bfloat16")
        await here.wait(lambda: here.engine.restarted == 1 and here.app.conversation.engine == "ready")


def test_the_likeliest_way_stands_first() -> None:
    lines = load_advice(LoadFailed(TOO_LARGE, ("bfloat16",))).splitlines()
    assert [line.split()[0] for line in lines] == ["What", "/dtype", "/model:", "F2", "Ctrl+T:"]
