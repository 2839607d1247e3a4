"""A word in the status line stays until the next thing is done, beside the keys where there is room for them."""

import pytest
from syrupy.assertion import SnapshotAssertion

from support.app_stage import stage
from support.fake_engine import answered, loads_only

MISTAKE = "There is no command /nosuch."


@pytest.mark.parametrize(
    "keys",
    [
        ["f4"],
        ["ctrl+r"],
        ["f8"],
        ["ctrl+n"],
        ["tab"],
        ["f1", "escape"],
        ["ctrl+u", *"/new", "enter"],
        ["ctrl+u", *"hi", "enter"],
    ],
    ids=lambda keys: keys[-1] if len(keys) < 3 else "".join(keys[1:-1]),
)
async def test_what_is_done_next_takes_it_back(keys: list[str]) -> None:
    async with stage(loads_only) as here:
        await here.ask("one")
        await here.feed(*answered(1, "an answer"))
        await here.enter("/nosuch")
        assert here.app.chat.status.flash_text.startswith(MISTAKE)
        await here.press(*keys)
        assert MISTAKE not in here.lines()[-1]


async def test_what_is_written_or_scrolled_leaves_it_there() -> None:
    async with stage(loads_only) as here:
        await here.enter("/nosuch")
        await here.press(*"abc", "left", "backspace", "pageup", "ctrl+end")
        assert MISTAKE in here.lines()[-1]


async def test_a_second_mistake_takes_the_place_of_the_first() -> None:
    async with stage(loads_only) as here:
        await here.enter("/nosuch")
        await here.enter("/guard maybe")
        assert "/guard takes one of" in here.lines()[-1]


@pytest.mark.parametrize(
    ("columns", "keys"),
    [(160, ("⏎ send", "F1 help")), (100, ("⏎ send", "^J newline")), (60, ("⏎ send",)), (40, ())],
)
async def test_the_keys_stay_beside_it_where_they_fit(columns: int, keys: tuple[str, ...]) -> None:
    async with stage(loads_only, size=(columns, 20)) as here:
        here.app.context.flash("Reasoning effort is high from now on")
        await here.settle()
        line = here.lines()[-1]
        assert "Reasoning effort is high from now on" in line
        assert all(key in line for key in keys)


async def test_one_that_is_longer_than_the_line_has_more_lines_until_it_goes() -> None:
    said = "1 turn left out: 46 tokens are read with the next question, 23 are kept. /undo brings them back."
    async with stage(loads_only, size=(40, 15)) as here:
        before = here.lines()
        here.app.context.flash(said)
        await here.settle()
        assert " ".join(line.strip() for line in here.lines()[-3:]) == said
        here.app.context.flash("word " * 60)
        await here.settle()
        assert here.lines()[-1].endswith("…")
        await here.pilot.resize_terminal(100, 30)
        here.app.context.flash(said)
        await here.settle()
        assert here.lines()[-1].strip() == said
        await here.pilot.resize_terminal(40, 15)
        here.app.chat.status.clear_flash()
        await here.settle()
        assert here.lines() == before


@pytest.mark.parametrize("size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(loads_only, size=size) as here:
        await here.enter("/guard maybe")
        drawn = here.snapshot()
    assert drawn == snapshot
