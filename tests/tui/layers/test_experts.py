"""A mixture of experts in the inspector: a cell is a layer's stack, marked as such; the values of one expert."""

from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.figures import decimal_size
from qwen_core.protocol.stats import DraftStats
from qwen_core.tensors.values import read_values
from qwen_tui.layers.facts import facts_of, headline, reading_line
from qwen_tui.layers.legend import below, beside
from qwen_tui.layers.map import LayerMap, Place
from qwen_tui.layers.map_text import View, look_of
from qwen_tui.layers.table import COLUMNS
from qwen_tui.layers.value_facts import number
from support.app_stage import stage
from support.checkpoints import write_checkpoint
from support.fake_engine import stats
from support.inspector_stage import below_rule, inspect
from support.layouts import drawn, map_at
from support.published_plan import FULL_MIXTURE, SMALL_MIXTURE
from support.reference import MIXTURES, write_case


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> LayerMap:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True, text=FULL_MIXTURE)
    return map_at(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small")
    write_checkpoint(path, text=SMALL_MIXTURE)
    return path


def test_the_feed_forward_rows_of_the_35b(full: LayerMap) -> None:
    rows = [line for line in drawn(full, View(full.start), small=False) if line[1:2] in "≡+r"]
    assert rows == [
        "▸router     " + "B" * 40,
        " ≡ gate     " + "N" * 40,
        " ≡ up       " + "N" * 40,
        " ≡ down     " + "5" * 40,
        " + gate     " + "N" * 40,
        " + up       " + "N" * 40,
        " + down     " + "5" * 40,
        " + weight   " + "B" * 40,
    ]
    assert not {"ffn gate", "ffn up", "ffn down"} & full.by_label.keys()


def test_what_is_said_of_a_stack(full: LayerMap) -> None:
    assert "8 of 256 experts" in headline(full)
    for legend in (beside(full, "mode", 22, 20), below(full, "mode", 150, 2)):
        text = "\n".join(line.plain for line in legend)
        assert "≡ 256 experts" in text
        assert "+ the shared one" in text
    module = full.module_at(Place("≡ up", 3))
    assert module is not None
    assert module.experts == 256
    assert next(c.text(module, full.layout) for c in COLUMNS if c.title == "module") == "≡ mlp.switch_mlp.up_proj"
    cell = full.at(Place("≡ up", 3))
    assert cell is not None
    _, paint = look_of(cell, full, View(full.start, reading=True))
    assert str(getattr(paint, "style", "")).endswith("lit")


def test_a_pass_with_drafts_reads_the_experts_of_its_rows(full: LayerMap) -> None:
    """As many as are expected of a pass's mean rows; without drafts a token's, to the byte."""
    draft = DraftStats("mtp", 3, passes=10, drafted=30, accepted=15, accepted_by_depth=(8, 5, 2))
    four = decimal_size(full.layout.pass_bytes(4))
    assert reading_line(full, None, 0, replace(stats(), draft=draft)) == [f"a pass reads about {four}"]
    assert reading_line(full, None, 0, stats())[0].endswith(f"({full.layout.token_bytes:,} B)")


def test_the_cost_of_a_stack_is_that_of_its_used_experts(small: Path) -> None:
    layer_map, checkpoint = map_at(small), open_checkpoint(small)
    module = layer_map.layout.index["layers.0.mlp.switch_mlp.up_proj"]
    assert "2 of 8 experts" in facts_of(module, layer_map.layout, checkpoint).token


def test_the_rows_of_raw_files(tmp_path: Path) -> None:
    write_case(MIXTURES[0], tmp_path)
    layer_map = map_at(tmp_path)
    assert [row.spec.label for row in layer_map.rows if row.spec.label.startswith("≡")] == ["≡ gate, up", "≡ down"]
    assert layer_map.start == Place("router", 0)


async def test_an_expert_is_picked_in_the_details(small: Path) -> None:
    """] from all to the first and on, [ back, { and } by 16, round the end; the values are that expert's alone."""
    checkpoint = open_checkpoint(small)

    def shown(expert: int | None, layer: int) -> tuple[str, str]:
        values = read_values(checkpoint, f"layers.{layer}.mlp.switch_mlp.gate_proj", expert=expert)
        assert values.minimum is not None
        which = "all 8 experts" if expert is None else f"expert {expert} of 8"
        return f"‹ {which} ›", f"values {number(values.minimum)}"

    async with stage() as here:
        await inspect(here, small)
        here.app.context.inspection.read = lambda c, m, stop, expert: read_values(c, m.canonical, expert=expert)
        assert "experts ›" not in below_rule(here)  # the router is no stack
        await here.press("down")
        steps = {"]": "right_square_bracket", "[": "left_square_bracket", "}": "right_curly_bracket", "": "left"}
        for key, expert in (("", None), ("]", 0), ("]", 1), ("[", 0), ("[", None), ("[", 7), ("}", 5), ("]", 6)):
            await here.press(steps[key])
            wanted = shown(expert, 0)
            await here.wait(lambda wanted=wanted: all(text in below_rule(here) for text in wanted), str(wanted))
        await here.press("right")
        await here.wait(lambda: all(text in below_rule(here) for text in shown(6, 1)), "the same expert of layer 1")
        await here.press("enter", "right_square_bracket")
        await here.wait(lambda: all(text in here.text() for text in ("‹ expert 7 of 8 ›", "64x128")), "the tensor")
        await here.press("escape")
        await here.wait(lambda: all(text in below_rule(here) for text in shown(7, 1)), "what was picked there")
