"""Errors of weights in the inspector: a colouring of the map where they are known, and the order of the table then."""

from pathlib import Path

from qwen_core.convert.measure import Measure
from support.app_stage import stage
from support.conversion import converted, write_raw
from support.fake_engine import loads_only
from support.inspector_stage import below_rule, inspect


async def test_what_a_conversion_measured_colours_the_map_and_orders_the_table(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    converted(tmp_path / "raw", tmp_path / "q3", "q3", measure=Measure())
    async with stage(loads_only, size=(110, 34)) as here:
        screen = await inspect(here, tmp_path / "q3")
        assert "error of a weight" not in here.text()
        await here.press("c", "c", "c")
        assert "error of a weight" in here.text()
        assert " of its size" in below_rule(here)
        await here.press("t")
        errors = [line.split()[-2:] for line in here.lines() if " affine " in line and line.rstrip().endswith("%")]
        figures = [float(number) for number, _ in errors]
        assert len(figures) > 5
        assert figures == sorted(figures, reverse=True)
        await here.press("t", "c")
        assert screen.inspection.view.colouring == "mode"


async def test_a_model_without_errors_is_not_coloured_by_them(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    async with stage(loads_only, size=(110, 34)) as here:
        screen = await inspect(here, tmp_path / "raw")
        await here.press("c", "c", "c")
        assert screen.inspection.view.colouring == "mode"
