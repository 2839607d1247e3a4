"""Opening another model: what the list says of each, and what leaves it."""

from collections.abc import Sequence

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.events import Key

from qwen_tui.app.model_lines import ModelLine, fit, read_model
from qwen_tui.app.models_screen import ModelsScreen, path_shown
from support.app_stage import Stage, stage
from support.fake_engine import MODEL

GIB = 1 << 30
LISTED = (
    (MODEL.path, "Qwen3.6-27B"),
    ("/models/large", "Qwen3.6-235B \x1b[31m[bold]red[/bold] 大模型"),
    ("/models/gone", "a model that is gone"),
)
LINES = {
    MODEL.path: ModelLine(MODEL.path, "Qwen3.6-27B", "UD-NVFP4_K_XL", 21_900_000_000),
    "/models/large": ModelLine("/models/large", LISTED[1][1], "UD-Q4_K_XL", 130_000_000_000),
    "/models/gone": ModelLine("/models/gone", LISTED[2][1], problem="'/models/gone' does not exist"),
}


async def opened(here: Stage, listed: Sequence[tuple[str, str]] = LISTED) -> list[str | None]:
    """The screen over the chat, everything read; the answers it gives."""
    answers: list[str | None] = []
    screen = ModelsScreen(listed, MODEL.path, 48 * GIB, 64 * GIB, read=lambda path, _: LINES[path])
    await here.app.push_screen(screen, answers.append)
    await here.wait(lambda: screen.is_mounted and all(line.variant or line.problem for line in screen.lines))
    await here.pilot.pause()
    return answers


@pytest.mark.parametrize("size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(size=size) as here:
        await opened(here)
        assert "\x1b" not in here.text()
        assert "sizes on disk" in here.text(), "the header says what is in memory"
        drawn = here.snapshot()
    assert drawn == snapshot


async def test_one_is_chosen_one_that_is_gone_is_not_and_any_directory_can_be_typed() -> None:
    async with stage() as here:
        answers = await opened(here)
        await here.pilot.press("down", "down", "enter")
        assert answers == [], "there is nothing to open"
        await here.pilot.press("up", "enter")
        await here.wait(lambda: answers == ["/models/large"])
        answers = await opened(here)
        await here.pilot.press(*"dir", "enter")
        await here.wait(lambda: answers == ["dir"])
        answers = await opened(here, [])
        assert "Nothing matches" in here.text()
        await here.pilot.press("escape")
        await here.wait(lambda: answers == [None])


async def test_letters_search_the_models_and_a_click_opens_one() -> None:
    async with stage() as here:
        answers = await opened(here)
        screen = here.app.screen
        assert isinstance(screen, ModelsScreen)
        await here.press(*"q4 LARGE")
        assert screen.list.row == LINES["/models/large"]
        await here.press("enter")
        await here.wait(lambda: answers == ["/models/large"])
        answers = await opened(here)
        await here.press(*"/models")
        assert screen is not here.app.screen
        assert "▸ Open /models " in here.text(), "a path that is typed is meant as one"
        await here.press("down")
        assert "▸ Qwen3.6-27B  open now" in here.text()
        await here.press(*["backspace"] * 7)
        line = next(y for y, text in enumerate(here.lines()) if "Qwen3.6-235B" in text)
        await here.pilot.click(offset=(30, line))
        await here.wait(lambda: answers == ["/models/large"])


@pytest.mark.parametrize(
    ("width", "shown"),
    [(40, "/models/some/Qwen3.6-27B-mlx"), (21, "…/Qwen3.6-27B-mlx"), (17, "…/Qwen3.6-27B-mlx"), (16, ""), (0, "")],
)
def test_a_path_is_cut_at_a_folder(width: int, shown: str) -> None:
    assert path_shown("/models/some/Qwen3.6-27B-mlx", width) == shown


@pytest.mark.parametrize(
    ("weights", "recommended", "memory", "says"),
    [
        (21 * GIB, 48 * GIB, 64 * GIB, "fits"),
        (47 * GIB + 1, 48 * GIB, 64 * GIB, "tight"),
        (63 * GIB + 1, 48 * GIB, 64 * GIB, "does not fit"),
        (47 * GIB, None, 64 * GIB, "fits"),
        (48 * GIB, None, 64 * GIB, "tight"),
        (21 * GIB, None, 0, ""),
        (0, 48 * GIB, 64 * GIB, ""),
    ],
)
def test_whether_a_model_fits(weights: int, recommended: int | None, memory: int, says: str) -> None:
    said = fit(weights, recommended, memory)
    assert said.startswith(says)
    assert bool(said) == bool(says)


def test_headers_are_read_and_what_cannot_be_read_is_a_line() -> None:
    from qwen_core.demo import demo_model_path

    line = read_model(str(demo_model_path()), "demo")
    assert (line.variant, line.problem) == ("UD-NVFP4_K_XL", "")
    assert line.weight_bytes > 1_000_000
    assert "does not exist" in read_model("/no/such/place", "gone").problem


@pytest.mark.parametrize("first", [["down"], ["d"]], ids=["a model", "what was typed"])
async def test_a_second_enter_at_once_leaves_no_more_than_the_first(first: list[str]) -> None:
    async with stage() as here:
        answers = await opened(here)
        await here.pilot.press(*first)
        for _ in range(2):
            here.app.post_message(Key("enter", "\r"))
        await here.wait(lambda: answers)
        await here.settle()
        assert len(answers) == 1
        assert here.app.screen is here.app.chat
