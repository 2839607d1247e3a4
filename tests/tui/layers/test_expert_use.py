"""Which experts an answer used, in the inspector: a row of heat for the layer under the cursor."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import Delta, TurnStarted, Watch
from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.layers.expert_use import evenness, use_lines
from support.app_stage import stage
from support.checkpoints import write_checkpoint
from support.fake_engine import loads_only, stats
from support.inspector_stage import below_rule, inspect
from support.published_plan import SMALL_MIXTURE


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
