"""The values of a tensor as lines of text, from tensors whose values are known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.demo import demo_model_path
from qwen_core.tensors.values import TensorValues, read_values
from qwen_tui.layers.map_text import BAD, Lines
from qwen_tui.layers.value_facts import number
from qwen_tui.layers.values_text import bar_width, sections, tall_bars, value_lines
from qwen_tui.text.sparkline import BARS
from support.checkpoints import write_checkpoint
from support.mixtures import write_mixture
from support.published_plan import Spec


def texts(lines: Lines) -> list[str]:
    return [line.plain for line in lines]


def alarms(lines: Lines) -> list[str]:
    return [line.plain[span.start : span.end] for line in lines for span in line.spans if span.style == BAD]


def demo_values(module: str) -> TensorValues:
    return read_values(open_checkpoint(demo_model_path()), module)


def test_a_quantised_tensor_in_a_few_lines() -> None:
    values = demo_values("layers.0.mlp.gate_proj")
    assert values.scales is not None
    lines = texts(value_lines(values, 98, 2))
    scales, codes = lines[0].split("   codes ")
    assert scales.startswith("scales ")
    assert scales.endswith(f"  {number(values.scales.minimum or 0)} … {number(values.scales.maximum or 0)}")
    assert codes.split()[::2] == ["0", ".5", "1", "1.5", "2", "3", "4", "6"]
    assert set("".join(codes.split()[1::2])) <= set(BARS)
    assert "no dead groups" in lines[1]
    assert f"mean {number(values.mean or 0)}" in lines[1]
    narrow = texts(value_lines(values, 50, 3))
    assert [line.split()[0] for line in narrow[:2]] == ["scales", "codes"]


def test_a_float_tensor_in_a_few_lines() -> None:
    lines = texts(value_lines(demo_values("layers.0.input_layernorm"), 98, 2))
    assert lines[0].startswith("values ")
    assert "deviation" in lines[1]
    assert "groups" not in " ".join(lines)


def test_affine_levels_are_drawn_and_not_listed() -> None:
    line = texts(value_lines(demo_values("layers.0.mlp.down_proj"), 98, 2))[0]
    assert line.endswith("  0 … 31")


def test_the_first_rows_are_there_where_there_is_room() -> None:
    values = demo_values("layers.0.mlp.gate_proj")
    assert len(value_lines(values, 98, 4)) == 2
    lines = texts(value_lines(values, 98, 7))
    assert len(lines) == 7
    assert lines[3].startswith("row 0")
    assert values.first_rows[0].words[0] in lines[4]
    assert lines[3].split()[2:4] == [f"{value:.3g}" for value in values.first_rows[0].values[:2]]


def test_what_is_wrong_stands_out(tmp_path: Path) -> None:
    """Holes read as zeros: every group is dead. A NaN among floats is counted."""
    write_mixture(tmp_path, lambda module: Spec("nvfp4", 4, 16), default=Spec("nvfp4", 4, 16))
    lines = value_lines(read_values(open_checkpoint(tmp_path), "layers.0.mlp.up_proj"), 98, 2)
    assert alarms(lines) == ["2,048 of 2,048 groups dead"]

    checkpoint = open_checkpoint(tmp_path)
    info = checkpoint.text["layers.0.linear_attn.A_log"]
    with info.file.open("r+b") as file:
        file.seek(info.offset)
        file.write(np.array([0x7FC0, 0x7F80], "<u2").tobytes())
    lines = value_lines(read_values(checkpoint, "layers.0.linear_attn.A_log"), 98, 2)
    assert alarms(lines) == ["1 NaN", "1 infinite"]


def test_a_sample_says_that_it_is_one() -> None:
    checkpoint = open_checkpoint(demo_model_path())
    whole = " ".join(texts(value_lines(demo_values("lm_head"), 98, 2)))
    part = read_values(checkpoint, "lm_head", limit_bytes=1 << 16)
    assert "sampled" not in whole
    assert f"sampled: {100 * part.share:.2f} % of its groups" in " ".join(texts(value_lines(part, 98, 2)))


def test_the_sections_of_a_whole_screen() -> None:
    values = demo_values("layers.0.mlp.gate_proj")
    assert values.codes is not None
    found = sections(values, 90)
    assert [section.heading.split(" ")[0] for section in found] == ["Scales", "Codes", "Statistics", "First"]
    codes = texts(found[1].lines)
    assert [line.split()[0] for line in codes] == list(values.codes.names)
    whole = sum(values.codes.counts)
    for line, count in zip(codes, values.codes.counts, strict=True):
        shown = float(line.split()[-2])
        assert shown == pytest.approx(100 * count / whole, abs=0.006)
    affine = sections(demo_values("lm_head"), 90)
    assert texts(affine[1].lines)[-1].split() == ["0", "255"]
    assert len(affine[3].lines) == 8


def test_every_module_of_the_demo_fits_any_width() -> None:
    checkpoint = open_checkpoint(demo_model_path())
    for module in make_layout(checkpoint).modules[:16]:
        values = read_values(checkpoint, module.canonical)
        for width in (1, 8, 30, 98):
            lines = [
                *value_lines(values, width, 12),
                *(line for part in sections(values, width) for line in part.lines),
            ]
            assert all(line.cell_length <= width for line in lines)


@pytest.mark.parametrize("variant", ["mxfp4", "mxfp8"])
def test_e8m0_scales_are_powers_of_two(variant: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, variant)
    found = sections(read_values(open_checkpoint(tmp_path), "layers.0.mlp.gate_proj"), 90)
    ends = texts(found[0].lines)[-1].split()
    assert all(end.startswith("2^") for end in ends)


@given(st.lists(st.integers(0, 10**9), max_size=300), st.integers(0, 80), st.integers(0, 8))
def test_tall_bars_fit_and_the_largest_reaches_the_top(counts: list[int], width: int, height: int) -> None:
    lines = tall_bars(counts, width, height)
    if not any(counts) or not width or not height:
        assert lines == []
        return
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    assert BARS[-1] in lines[0]
    bottom = lines[-1].replace(" ", "")
    assert len(bottom) >= sum(count > 0 for count in counts) * (max(1, bar_width(len(counts), width) - 1)) or (
        len(counts) > width
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0391, "0.0391"), (-6, "-6"), (1234.5, "1234"), (3.1e-7, "3.1e-07"), (1e30, "1e+30")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
