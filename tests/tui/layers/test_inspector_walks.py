"""The inspector under the test pilot: walked, filtered, coloured, sorted, at every size."""

from pathlib import Path

import pytest

from qwen_tui.layers.screen import InspectorScreen
from support.app_stage import stage
from support.checkpoints import write_checkpoint
from support.fake_engine import delta, loads_only
from support.inspector_stage import below_rule, inspect, place


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    return path


async def test_the_cursor_walks_and_the_details_follow(full: Path) -> None:
    async with stage() as here:
        await inspect(here, full)
        walked = []
        for key in ("right", "l", "down", "j", "left", "h", "up", "k", "end", "home", "pagedown", "pageup"):
            await here.pilot.press(key)
            await here.pilot.pause()
            walked.append(place(here))
        assert walked == [
            ("ffn gate", 1),
            ("ffn gate", 2),
            ("ffn up", 2),
            ("ffn down", 2),
            ("ffn down", 1),
            ("ffn down", 0),
            ("ffn up", 0),
            ("ffn gate", 0),
            ("ffn gate", 63),
            ("ffn gate", 0),
            ("ends", 0),
            ("mixer", 0),
        ]
        assert below_rule(here).startswith(" layer 0   linear attention")
        await here.press("right", "right", "right", "down")
        assert "layer 3 is a full-attention layer: it has no in_proj_qkv" in below_rule(here)
        await here.press("pagedown")
        ends = []
        for key in ("right", "right", "right", "left", "left", "left"):  # over what is empty between the ends
            await here.pilot.press(key)
            await here.pilot.pause()
            ends.append(place(here)[1])
        assert ends == [62, 63, 63, 62, 0, 0]
        await here.press(*["left"] * 9, *["up"] * 20)  # at the edges it stays
        assert place(here) == ("mixer", 0)


async def test_below_100_columns_the_map_scrolls_with_the_cursor(full: Path) -> None:
    async with stage(size=(30, 20)) as here:
        await inspect(here, full)
        assert " N nvfp4  6 affine  B bf16" in here.lines()
        await here.pilot.resize_terminal(60, 20)
        await here.settle()
        assert here.lines()[2] == " layer      0       8       16      24      32      40     ›"
        assert here.lines()[13] == " N nvfp4  6 affine  B bf16  5 affine  8 affine"
        await here.press("end")
        assert here.lines()[2] == " layer    ‹        24      32      40      48      56    63"
        await here.press("pageup")
        assert here.lines()[3].startswith("▸mixer")
        await here.press("pagedown")
        assert "▸ends" in here.text()
        assert "lm_head" in below_rule(here)


async def test_a_filter_narrows_the_map_and_its_matches_can_be_walked(full: Path) -> None:
    async with stage() as here:
        await inspect(here, full)
        await here.press("slash", *"8-9")
        await here.press("space", *"down")
        assert here.lines()[2] == " 2 of 851 modules: 122.55 MB, 0.61 % of what a token reads"
        assert place(here) == ("ffn down", 8)  # to the first that matches
        assert next(line for line in here.lines() if "ffn down" in line)[12:23] == "········55·"
        await here.press("enter", "n")
        assert place(here) == ("ffn down", 9)
        await here.press("n")
        assert place(here) == ("ffn down", 8)
        await here.press("N")
        assert place(here) == ("ffn down", 9)
        await here.press("slash", *" conv1d", *["backspace"] * 7)
        await here.press("f2", "f2")  # away and back: the filter stands
        assert "/ 8-9 down" in here.text()
        assert "2 of 851 modules" in here.lines()[2]
        await here.press("escape")  # out of the filter first
        assert isinstance(here.app.screen, InspectorScreen)
        assert "follow its recipe" in here.lines()[2]
        await here.press("slash", "enter", "escape")  # an empty one closes by itself
        assert here.app.screen is here.app.chat


async def test_a_filter_that_finds_small_tensors_shows_their_rows(full: Path) -> None:
    async with stage() as here:
        await inspect(here, full)
        assert "A_log" not in here.text()
        await here.press("slash", *"norm")
        assert "input norm" not in here.text()  # there is a match in the rows that are shown
        assert place(here) == ("ends", 62)
        await here.press(*["backspace"] * 4, *"a_log")
        assert place(here) == ("A_log", 0)
        assert "▸A_log      BBB BBB" in here.text()
        assert "0 of 851" not in here.text()


async def test_the_small_tensors_come_and_go(full: Path) -> None:
    async with stage(size=(100, 34)) as here:
        await inspect(here, full)
        assert "gated norm" not in here.text()
        await here.press("s")
        assert "gated norm" in here.text()
        await here.press("down", "down", "down")
        assert place(here) == ("input norm", 0)
        await here.press("s")
        assert "gated norm" not in here.text()
        assert place(here)[0] == "ends"  # its row is gone


async def test_colours_change_and_stay_as_they_were_left(full: Path) -> None:
    async with stage() as here:
        await inspect(here, full)
        assert "colour by mode" in here.text()
        await here.press("c")
        assert "colour by bits" in here.text()
        await here.press("c")
        assert "bytes a token" in here.text()
        assert "▇ 62.91 MB" in here.text()
        await here.press("right", "f2", "ctrl+l")
        assert "bytes a token" in here.text()
        assert place(here) == ("ffn gate", 1)
        await here.press("c")
        assert "colour by mode" in here.text()


async def test_enter_opens_the_tensor_and_its_neighbours() -> None:
    async with stage(loads_only, size=(100, 60)) as here:
        await here.ask("hello")
        await inspect(here)
        await here.press("enter")
        text = here.text()
        for part in ("layer 0 · mlp.gate_proj", "from the top-level default", "384x256", "Scales · E4M3"):
            assert part in text, part
        for part in ("Codes · E2M1 values", "First rows", "row 3", "language_model.model.layers.0.mlp.gate_proj"):
            assert part in text, part
        await here.press("right", "right", "right", "right", "left")
        assert "layer 2 · mlp.gate_proj" in here.text()
        await here.feed(delta(1, ("answer", "hi"), count=7))
        await here.settle()
        assert "17.3 tok/s · 7 tokens" in here.lines()[-1]
        await here.press("escape")
        assert place(here) == ("ffn gate", 2)
        assert "layer 2 · mlp.gate_proj" in below_rule(here)
        assert "● decoding" in here.lines()[0]
        await here.press("pageup", "enter")  # the mixer row has no tensor to open
        assert isinstance(here.app.screen, InspectorScreen)


async def test_the_table_shows_the_same_and_sorts() -> None:
    async with stage(size=(100, 34)) as here:
        await inspect(here)
        await here.press("right", "t")
        assert "mixer" not in here.text()
        assert next(line for line in here.lines() if line.startswith("▸")).split()[1:3] == ["1", "mlp.gate_proj"]
        await here.press("o", "o", "o", "o", "o", "home")
        assert "per token▾" in here.lines()[3]
        assert here.lines()[4].split()[1] == "lm_head"
        assert place(here) == ("ends", 14)
        assert "lm_head" in below_rule(here)
        await here.press("O", "home", "down", "pagedown", "up", "k", "j")
        assert "per token▴" in here.lines()[3]
        await here.press("slash", *"nvfp4", "enter")
        assert "8 of 71 modules" in here.text()
        await here.press("end", "enter")
        assert "mlp." in here.lines()[1]
        await here.press("escape", "t")
        assert "per token" not in here.text()
        assert next(line for line in here.lines() if line[1:8] == "ffn up ")[12:24].split() == ["N"] * 4
        assert next(line for line in here.lines() if line[1:4] == "z  ")[12:24].split() == ["·"] * 3


async def test_the_mouse_moves_the_cursor_and_sorts(full: Path) -> None:
    async with stage() as here:
        await inspect(here, full)
        row = next(number for number, line in enumerate(here.lines()) if line.startswith(" ffn down"))
        await here.pilot.click(offset=(12 + 17, row))
        await here.settle()
        assert place(here) == ("ffn down", 17)
        await here.pilot.click(offset=(2, row))  # the label is no cell
        await here.pilot.click(offset=(90, row))  # nor is the legend
        await here.settle()
        assert place(here) == ("ffn down", 17)
        await here.press("t")
        title = here.lines()[3].index("stored")
        await here.pilot.click(offset=(title, 3))
        await here.pilot.click(offset=(4, 6))
        await here.settle()
        assert "stored▴" in here.lines()[3]
        assert here.lines()[6].startswith("▸")


async def test_a_theme_changes_the_map_at_once() -> None:
    async with stage() as here:
        await inspect(here)
        before = here.snapshot()
        here.app.theme = "paper"
        await here.settle()
        after = here.snapshot()
        assert before != after
        assert "on #faf8f3" in after
        assert "#12141c" not in after


@pytest.mark.parametrize("size", [(40, 12), (20, 6), (10, 3), (3, 2)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_size_is_too_small_to_live(size: tuple[int, int], full: Path) -> None:
    async with stage(size=size) as here:
        await inspect(here, full)
        for keys in (("end", "pagedown"), ("s", "c", "up"), ("t", "down", "o"), ("t",), ("slash", "8"), ("enter",)):
            await here.press(*keys)
        await here.press("enter", "right", "down")
        await here.press("escape", "f1", "escape")
        await here.pilot.resize_terminal(100, 30)
        await here.settle()
        assert "of 851 modules" in here.text()
        assert "ffn gate" in here.text()
