"""Which experts an answer used: a row of heat for the layer under the cursor, and all layers at once."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.config import MixtureConfig
from qwen_core.protocol.events import Delta, TurnStarted, Watch
from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.layers.expert_use import (
    HeatRow,
    axis_line,
    evenness,
    figure_lines,
    heat_cells,
    heat_line,
    use_lines,
)
from qwen_tui.layers.screen import InspectorScreen
from qwen_tui.text.sparkline import sparkline
from support.app_stage import stage
from support.checkpoints import write_checkpoint
from support.fake_engine import loads_only, stats
from support.inspector_stage import below_rule, inspect, place
from support.published_plan import FULL_MIXTURE, SMALL_MIXTURE


def use_of(*layers: list[int], last: int = 0) -> ExpertUse:
    counts = [count for layer in layers for count in layer]
    ends = [last, last + 1] * len(layers)
    packed = struct.pack(f"={len(counts)}I", *counts), struct.pack(f"={len(ends)}H", *ends)
    return ExpertUse(sum(layers[0]) // 2, len(layers[0]), 2, *packed)


def test_a_layer_in_two_lines() -> None:
    use = use_of([8, 0, 4, 0], [3, 3, 3, 3], last=1)
    assert [line.plain for line in use_lines(use, 0, 80)] == [
        "used █·▄·",
        "6 tokens · 2 of 4 experts · 46 % even · last counted token: 1, 2",
    ]
    assert use_lines(use, 1, 80)[0].plain == "used ████"
    assert "4 of 4 experts · 100 % even" in use_lines(use, 1, 80)[1].plain


@given(counts=st.lists(st.integers(0, 1000), min_size=256, max_size=256), width=st.integers(8, 300))
def test_no_line_is_wider_than_its_room(counts: list[int], width: int) -> None:
    """256 experts in few cells: neighbours share one."""
    lines = use_lines(use_of(counts), 0, width)
    assert all(line.cell_length <= width for line in lines)
    assert len(lines[0].plain) == min(width, 5 + 256)
    assert 0 <= evenness(counts) <= 1


def test_evenness() -> None:
    assert evenness([5] * 8) == pytest.approx(1)
    assert evenness([7, 0, 0, 0]) == 0
    assert evenness([1, 1, 0, 0]) == pytest.approx(0.5)
    assert evenness([]) == 1


async def test_the_inspector_shows_it_as_the_answer_comes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, text=SMALL_MIXTURE)
    use = use_of(*[[4, 0, 0, 0, 0, 0, 2, 2]] * 4)
    async with stage(loads_only) as here:
        await here.ask("Which?")
        await inspect(here, tmp_path)
        await here.wait(lambda: Watch(True) in here.engine.commands, "the engine to be told")
        assert "used" not in below_rule(here)
        here.engine.feed(TurnStarted(1, 9, 0), Delta(1, (("answer", "This"),), (1,), stats(), experts=use))
        await here.wait(lambda: "used █·····▄▄" in below_rule(here), "the row of heat")
        assert "3 of 8 experts" in below_rule(here)
        await here.press("up")
        assert "used █" not in below_rule(here)
        await here.press("escape")
        await here.wait(lambda: here.engine.commands[-1] == Watch(False), "the engine to be told that nobody looks")


def test_the_last_token_is_told_whole_on_narrow_screens() -> None:
    counts = [3] * 256
    use = ExpertUse(96, 256, 8, struct.pack("=256I", *counts), struct.pack("=8H", *range(248, 256)))
    for width in (24, 38, 58, 98):
        text = "\n".join(line.plain for line in figure_lines(use, 0, width, most=True))
        assert all(str(expert) in text for expert in range(248, 256)), (width, text)


@given(
    layers=st.lists(st.lists(st.integers(0, 1000), min_size=256, max_size=256), min_size=1, max_size=3),
    last=st.integers(0, 254),
    width=st.integers(38, 300),
)
def test_the_whole_picture_has_a_row_a_layer(layers: list[list[int]], last: int, width: int) -> None:
    """Every row and the axis above are as wide, within the screen; the last token's experts stand out."""
    use, mixture = use_of(*layers, last=last), MixtureConfig(256, 2, 512, 512)
    cells = heat_cells(256, width)
    for layer, counts in enumerate(layers):
        line = heat_line(use, mixture, HeatRow(layer, False), width)
        assert line.plain[:7] == f" {layer:>5} "
        assert line.plain[7 : 7 + cells] == sparkline(counts, cells).replace(" ", "·")
        assert line.cell_length == axis_line(256, width).cell_length <= width
        assert line.plain.endswith("%" if any(counts) else " ")
        lit = {place - 7 for span in line.spans if "lit" in str(span.style) for place in range(span.start, span.end)}
        wanted = {cell for expert in (last, last + 1) for cell in (expert * cells // 256,)}
        assert {cell for cell in wanted if sparkline(counts, cells)[cell] != " "} <= lit
        assert len(lit) <= 4


SIZES = [(40, 15), (60, 20), (100, 30), (160, 45)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_all_layers_at_once(size: tuple[int, int], tmp_path: Path) -> None:
    """Each layer is on the screen or a walk away; nothing is wider than the screen; the figures follow the cursor."""
    write_checkpoint(tmp_path, full=True, text=FULL_MIXTURE)
    heat = [[(7 * expert + layer) % 5 for expert in range(256)] for layer in range(40)]
    use = use_of(*heat, last=17)
    async with stage(loads_only, size) as here:
        await here.ask("Which?")
        await inspect(here, tmp_path)
        assert "e experts" in here.lines()[-1] or size[0] < 100
        await here.press("e")
        await here.wait(lambda: "nothing counted yet" in here.text(), "the empty picture")
        here.engine.feed(TurnStarted(1, 9, 0), Delta(1, (("answer", "This"),), (1,), stats(), experts=use))
        await here.wait(lambda: "last counted token: 17, 18" in here.text(), "the figures")
        seen: dict[int, str] = {}
        for _ in range(40):
            rows = [found for line in here.lines() if (found := re.fullmatch(r"[ ▸] +(\d+) (\S+) +(\d+ %)", line))]
            seen |= {int(row[1]): row[2] for row in rows}
            assert all(line.count("…") == 0 for line in here.lines()[1:-1])
            if len(seen) == 40:
                break
            await here.press("pagedown")
        cells = heat_cells(256, size[0])
        assert seen == {layer: sparkline(heat[layer], cells).replace(" ", "·") for layer in range(40)}
        await here.press("end")
        assert "layer 39   full attention" in here.text()
        await here.press("up", "escape")
        await here.wait(lambda: isinstance(here.app.screen, InspectorScreen), "the map")
        assert place(here) == ("router", 38)
        assert Watch(False) not in here.engine.commands
        await here.press("escape")
        await here.wait(lambda: here.engine.commands[-1] == Watch(False), "the engine to be told that nobody looks")


async def test_an_engine_started_anew_is_told_that_somebody_looks(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, text=SMALL_MIXTURE)
    async with stage(loads_only) as here:
        await inspect(here, tmp_path)
        await here.press("e")
        before = here.engine.commands.count(Watch(True))
        assert before == 1
        here.app.conversation.ask("Which?")
        await here.feed(TurnStarted(1, 9, 0), Delta(1, (("answer", "This"),), (1,), stats()))
        await here.wait(lambda: here.engine.commands.count(Watch(True)) == 2, "the engine to be told again")


async def test_a_dense_model_has_no_such_screen(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    async with stage() as here:
        screen = await inspect(here, tmp_path)
        await here.press("e")
        assert here.app.screen is screen
        assert not {"e", "left_square_bracket"} & screen.active_bindings.keys()
        assert "experts" not in here.lines()[-1]
