"""The layer map as pure functions: every module in one cell, and the map, its axis and its legend as text."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from qwen_core.tensors.rounding_error import with_errors
from qwen_tui.layers.arrangement import Arrangement, arrange
from qwen_tui.layers.facts import headline
from qwen_tui.layers.legend import below, beside
from qwen_tui.layers.map import LayerMap, Place, glyph_of, make_map
from qwen_tui.layers.map_text import COLOURINGS, MARGIN, Colouring, View, next_colouring, row_line
from support.checkpoints import write_checkpoint
from support.layouts import drawn, map_at, map_of
from support.mixtures import MATRICES, write_mixture
from support.published_plan import Spec, text_config, text_plan


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> LayerMap:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    return map_at(path)


def test_the_full_27b_as_text(full: LayerMap) -> None:
    assert drawn(full, View(Place("ffn gate", 8)), small=True) == [
        " layer      0       8       16      24      32      40      48      56    63",
        " mixer      " + "···█" * 16,
        " qkv        " + ("666 " * 16).rstrip(),
        " z          " + ("666 " * 16).rstrip(),
        " a          " + ("BBB " * 16).rstrip(),
        " b          " + ("BBB " * 16).rstrip(),
        " out        " + ("BBB " * 16).rstrip(),
        " q          " + "   6" * 16,
        " k          " + "   6" * 16,
        " v          " + "   6" * 16,
        " o          " + "   B" * 16,
        "▸ffn gate   " + "N" * 64,
        " ffn up     " + "N" * 64,
        " ffn down   " + "5" * 64,
        " input norm " + "B" * 64,
        " post norm  " + "B" * 64,
        " conv1d     " + ("BBB " * 16).rstrip(),
        " A_log      " + ("BBB " * 16).rstrip(),
        " dt_bias    " + ("BBB " * 16).rstrip(),
        " gated norm " + ("BBB " * 16).rstrip(),
        " q norm     " + "   B" * 16,
        " k norm     " + "   B" * 16,
        " ends       6 ◂ embed_tokens                              norm, lm_head ▸ B8",
    ]
    assert headline(full) == [
        "64 layers",
        "26.90 B text weights",
        "6.25 bits each",
        "19.99 GB a token",
        "UD-NVFP4_K_XL",
    ]
    assert " · ".join(headline(full, 58)[:4]) == "64 layers · 26.90 B weights · 6.25 bits · 19.99 GB a token"
    assert max(map(len, drawn(full, View(Place("mixer", 0))))) == MARGIN + 64  # 64 layers fit in 100 columns


def test_the_demo_model_as_text() -> None:
    demo = map_at(demo_model_path())
    assert drawn(demo, View(Place("qkv", 1), shown=15, pitch=3), headings=True) == [
        " layer       0  1  2  3",
        " mixer       ·  ·  ·  █",
        " linear attention",
        "▸qkv         6  6  6",
        " z           6  6  6",
        " a           B  B  B",
        " b           B  B  B",
        " out         B  B  B",
        " full attention",
        " q                    6",
        " k                    6",
        " v                    6",
        " o                    B",
        " feed-forward",
        " ffn gate    N  N  N  N",
        " ffn up      N  N  N  N",
        " ffn down    5  5  5  5",
        "",
        " ends        6  ◂ embed_tokens     norm, lm_head ▸  B  8",
        " MTP" + " " * 7 + "  B" * 15,
    ]


def test_a_uniform_q4_as_text(tmp_path: Path) -> None:
    four = Spec("affine", 4, 64)
    write_mixture(tmp_path, lambda module: four, default=four, tied=True)
    rows = drawn(map_at(tmp_path), View(Place("mixer", 0), shown=4))
    assert rows[1:] == [
        "▸mixer      ···█",
        *(f" {label:<10} 444" for label in ("qkv", "z", "a", "b", "out")),
        *(f" {label:<10}    4" for label in "qkvo"),
        *(f" {label:<10} 4444" for label in ("ffn gate", "ffn up", "ffn down")),
        " ends       4  B",  # tied: the embedding is the head, and the last norm the only thing after the layers
    ]


def test_a_custom_mix_as_text_and_in_its_legend(tmp_path: Path) -> None:
    wanted = {
        "layers.0.mlp.gate_proj": Spec("mxfp4", 4, 32),
        "layers.1.mlp.gate_proj": Spec("mxfp8", 8, 32),
        "layers.2.mlp.gate_proj": Spec("nvfp4", 4, 16),
        "layers.3.mlp.gate_proj": Spec("affine", 2, 32),
        "layers.3.self_attn.q_proj": Spec("affine", 8, 128),
    }
    write_mixture(tmp_path, wanted.get, float_dtype="F32")
    layer_map = map_at(tmp_path)
    rows = drawn(layer_map, View(Place("mixer", 0), shown=4))
    assert " ffn gate   MXN2" in rows
    assert " q             8" in rows
    assert " ffn up     FFFF" in rows
    assert headline(layer_map)[-1] == "custom"
    legend = [line.plain for line in beside(layer_map, "mode", 22, 40)]
    for entry in ("M mxfp4 4-bit g32", "X mxfp8 8-bit g32", "N nvfp4 4-bit g16", "2 affine 2-bit g32", "F f32"):
        assert entry in legend
    write_mixture(tmp_path / "half", lambda module: None, float_dtype="F16")
    assert " ffn up     HHHH" in drawn(map_at(tmp_path / "half"), View(Place("mixer", 0), shown=4))


SPECS = [Spec("affine", 3, 64), Spec("affine", 8, 32), Spec("nvfp4", 4, 16), Spec("mxfp4", 4, 32), Spec("mxfp8", 8, 32)]


@given(
    layers=st.integers(1, 7),
    interval=st.integers(2, 4),
    tied=st.booleans(),
    data=st.data(),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_module_is_in_one_cell_and_the_cells_add_up(
    layers: int, interval: int, tied: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text: dict[str, Any] = {"num_hidden_layers": layers, "full_attention_interval": interval}
    sizes = text_config(True, {**text, "tie_word_embeddings": tied})
    modules = [plan.name.removesuffix(".weight") for plan in text_plan(sizes) if plan.role in MATRICES]
    chosen = {module: data.draw(st.none() | st.sampled_from(SPECS)) for module in modules}
    path = tmp_path_factory.mktemp("mix")
    write_mixture(path, chosen.get, tied=tied, text=text)
    layer_map = map_of(open_checkpoint(path))
    found = [
        cell.module for row in layer_map.rows for cell in row.cells if cell is not None and cell.module is not None
    ]
    assert sorted(module.canonical for module in found) == sorted(layer_map.layout.index)
    assert sum(module.token_bytes for module in found) == layer_map.layout.token_bytes
    for module in found:
        place = layer_map.places[module.canonical]
        assert layer_map.module_at(place) is module
        assert module.layer is None or place.column == module.layer
        assert glyph_of(module).isprintable()
        assert len(glyph_of(module)) == 1
    assert all(len(row.cells) == layer_map.columns for row in layer_map.rows)


def test_a_model_too_short_for_its_ends_still_has_a_place_for_each(tmp_path: Path) -> None:
    write_mixture(tmp_path, lambda module: None, text={"num_hidden_layers": 1, "full_attention_interval": 2})
    layer_map = map_at(tmp_path)
    assert [layer_map.places[name].column for name in ("embed_tokens", "norm", "lm_head")] == [0, 1, 2]


def test_the_axis_says_where_the_cursor_is_and_what_is_beyond_the_edges(full: LayerMap) -> None:
    def axis(column: int, first: int, shown: int) -> str:
        return drawn(full, View(Place("mixer", column), first=first, shown=shown))[0]

    # The cursor's number takes the place of one that it would touch.
    assert axis(9, 0, 64).startswith(" layer      0        9      16")
    assert axis(17, 10, 20) == " layer    ‹        17     24    ›"
    assert axis(63, 44, 20) == " layer    ‹     48      56    63"
    assert axis(0, 0, 20) == " layer      0       8       16  ›"


def test_a_filter_leaves_a_dot_where_a_module_does_not_match(full: LayerMap) -> None:
    matches = frozenset({"layers.1.mlp.gate_proj", "layers.2.linear_attn.in_proj_z", "lm_head"})
    rows = drawn(full, View(Place("mixer", 0), matches=matches))
    assert rows[3] == " z          ··6 " + ("··· " * 15).rstrip()
    assert rows[11] == " ffn gate   ·N" + "·" * 62
    assert rows[14].endswith("·8")
    assert rows[1] == "▸mixer      " + "···█" * 16  # what the layers are is not filtered


def test_bytes_a_token_are_bars_and_the_cursor_shows_its_glyph(full: LayerMap) -> None:
    rows = drawn(full, View(Place("ffn gate", 1), colouring="bytes"))
    assert rows[1:7] == [
        " mixer      " + "···█" * 16,
        " qkv        " + ("▅▅▅ " * 16).rstrip(),  # 42.6 of 62.9 MB
        " z          " + ("▃▃▃ " * 16).rstrip(),
        " a          " + ("... " * 16).rstrip(),
        " b          " + ("... " * 16).rstrip(),
        " out        " + ("▇▇▇ " * 16).rstrip(),
    ]
    assert rows[11] == "▸ffn gate   ▆N" + "▆" * 62
    assert rows[14].endswith(".▇")  # the head is dearer than any bar is tall


def test_errors_are_bars_that_double_and_floats_have_none(full: LayerMap) -> None:
    errors = {"layers.0.mlp.gate_proj": 0.3, "layers.1.mlp.gate_proj": 0.09, "layers.2.mlp.gate_proj": 0.004}
    layer_map = make_map(with_errors(full.layout, errors), full.verdict)
    rows = drawn(layer_map, View(Place("mixer", 0), colouring="error"))
    assert rows[11] == " ffn gate   ▇▆▁" + "·" * 61
    assert rows[1] == "▸mixer      " + "···█" * 16
    words = "\n".join(line.plain for line in beside(layer_map, "error", 22, 20))
    assert words.startswith("error of a weight  c")
    assert "▇ from 16.0 %" in words
    assert "▁ below 0.50 %" in words


def test_the_map_offers_errors_only_where_some_are_known(full: LayerMap) -> None:
    layout = full.layout
    assert [next_colouring(one, layout) for one in COLOURINGS] == ["bits", "bytes", "mode", "mode"]
    known = with_errors(layout, {"lm_head": 0.1})
    assert [next_colouring(one, known) for one in COLOURINGS] == ["bits", "bytes", "error", "mode"]


def test_while_a_token_is_read_every_cell_is_lit_but_the_embedding(full: LayerMap) -> None:
    """Of the embedding a token reads one row; everything else it reads whole."""
    layout = with_errors(full.layout, {module.canonical: 0.1 for module in full.layout.modules})
    full = make_map(layout, full.verdict)
    for colouring in COLOURINGS:
        view = View(Place("mixer", 0), colouring=colouring, reading=True)
        lit = unlit = 0
        for row in full.rows:
            if row.spec.group == "mixer":
                continue
            for span in row_line(row, full, view).spans:
                name = str(span.style)
                if name.startswith(("tile", "bar")):
                    lit += name.endswith(" lit")
                    unlit += not name.endswith(" lit")
        assert (lit, unlit) == (len(full.layout.modules) - 1, 1)
    still = row_line(full.rows[1], full, View(Place("mixer", 0)))
    assert not any(str(span.style).endswith(" lit") for span in still.spans)


@pytest.mark.parametrize("colouring", COLOURINGS)
def test_wide_cells_hold_the_same_glyphs(full: LayerMap, colouring: Colouring) -> None:
    row = full.by_label["qkv"]
    narrow = row_line(row, full, View(Place("mixer", 0), colouring=colouring)).plain[MARGIN:]
    wide = row_line(row, full, View(Place("mixer", 0), colouring=colouring, pitch=2)).plain[MARGIN:]
    assert len(wide) == 128
    assert wide[::2] == narrow
    assert wide[1::2].strip() == ""


# The legend.


def test_the_legend_of_the_full_27b(full: LayerMap) -> None:
    lines = [line.plain for line in beside(full, "mode", 22, 17)]
    assert lines == [
        "colour by mode  c",
        "",
        "N nvfp4 4-bit g16",
        "  ███▌·······  32.1 %",
        "6 affine 6-bit g64",
        "  ██▍········  21.1 %",
        "B bf16",
        "  ██▎········  20.4 %",
        "5 affine 5-bit g64",
        "  ██▏········  19.6 %",
        "8 affine 8-bit g64",
        "  ▊··········  6.76 %",
        "",
        "· linear  █ full",
    ]
    assert [line.plain for line in beside(full, "bits", 22, 9)][2:7] == [
        "N 4-bit",
        "5 5-bit",
        "6 6-bit",
        "8 8-bit",
        "B 16-bit",
    ]
    assert beside(full, "bytes", 22, 17)[2].plain == "▇ 62.91 MB"
    assert beside(full, "bytes", 22, 17)[6].plain == ". below 4.49 MB"


def test_a_legend_below_the_map_says_less_rather_than_leaving_a_format_out(full: LayerMap) -> None:
    def legend(width: int, height: int) -> list[str]:
        return [line.plain for line in below(full, "mode", width, height)]

    assert legend(80, 2) == [
        " N nvfp4 4-bit g16 32.1 %  6 affine 6-bit g64 21.1 %  B bf16 20.4 %",
        " 5 affine 5-bit g64 19.6 %  8 affine 8-bit g64 6.76 %  · linear █ full",
    ]
    assert legend(60, 2) == [
        " N nvfp4 4-bit g16  6 affine 6-bit g64  B bf16",
        " 5 affine 5-bit g64  8 affine 8-bit g64  · linear █ full",
    ]
    assert legend(60, 1) == [" N nvfp4  6 affine  B bf16  5 affine  8 affine"]
    assert legend(20, 1) == [" N nvfp4  6 affine"]


@pytest.mark.parametrize("colouring", COLOURINGS)
@given(width=st.integers(1, 60), height=st.integers(1, 40))
def test_no_legend_is_larger_than_its_room(colouring: Colouring, width: int, height: int) -> None:
    demo = map_at(demo_model_path())
    for lines in (beside(demo, colouring, width, height), below(demo, colouring, width, height)):
        assert len(lines) <= height
        assert all(line.cell_length <= width for line in lines)


# How a terminal is divided.


def test_the_three_sizes_are_arranged() -> None:
    assert arrange(160, 45, 64, 14, 8, None) == Arrangement(2, 64, 27, True, True, 18, 0, 13)
    assert arrange(100, 30, 64, 14, 8, None) == Arrangement(1, 64, 18, False, True, 22, 0, 7)
    assert arrange(60, 20, 64, 14, 8, None) == Arrangement(1, 47, 10, False, False, 0, 1, 4)
    assert arrange(100, 30, 64, 14, 8, True).small


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 120),
    columns=st.integers(3, 400),
    small=st.none() | st.booleans(),
)
def test_no_arrangement_is_larger_than_the_terminal(width: int, height: int, columns: int, small: bool | None) -> None:
    found = arrange(width, height, columns, 14, 8, small)
    assert found.rows >= 1
    assert 1 <= found.shown <= columns
    if height >= 6:  # header, headline, axis, one row, rule, status
        assert 5 + found.rows + found.legend_height + found.detail <= height
    if width > MARGIN + 1:
        legend = found.legend_width + 2 if found.legend_width else 0
        assert MARGIN + found.shown * found.pitch + legend <= width
