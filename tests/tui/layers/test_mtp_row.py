"""The MTP layer in the inspector: a row of its own that a token does not read, the line about it, its values."""

from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.errors import QwenError
from qwen_core.tensors.error import compare_with_reference
from qwen_core.tensors.values import read_values
from qwen_tui.layers.detail import header_lines
from qwen_tui.layers.facts import choice_text, mtp_text
from qwen_tui.layers.filter import matching
from qwen_tui.layers.legend import beside
from qwen_tui.layers.map import Place
from qwen_tui.layers.map_text import COLOURINGS, Colouring, View, look_of
from support.app_stage import stage
from support.checkpoints import Stored, write_checkpoint, write_safetensors
from support.inspector_stage import below_rule, inspect, place
from support.layouts import drawn, map_at, map_of
from support.mixtures import write_mixture
from support.mtp_layers import write_layer
from support.published_plan import Spec
from support.reference import CASES, laid_out, mtp_weights, write_case

SPECS = (None, Spec("nvfp4", 4, 16), Spec("mxfp8", 8, 32), Spec("affine", 5, 64))
MODULES = 15


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 27B with its layer as nvfp4 in a file beside it."""
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    write_layer(path, Spec("nvfp4", 4, 16))
    return path


def said(path: Path, place: Place, width: int = 98) -> str:
    checkpoint = open_checkpoint(path)
    return "\n".join(line.plain for line in header_lines(map_of(checkpoint), checkpoint, place, width))


def test_the_27b_has_a_last_row_and_all_else_as_without(full: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, full=True)
    before, after = map_at(tmp_path), map_at(full)
    view = View(Place("MTP", 60))
    assert drawn(after, view)[-1] == "▸MTP        " + " " * 49 + "NBBBNNNNBBBNNNB"
    assert drawn(after, view)[:-1] == drawn(before, view)
    assert (after.layout.text, after.layout.token_bytes) == (before.layout.text, before.layout.token_bytes)
    assert after.layout.unused == before.layout.unused
    assert before.layout.mtp == ()
    assert mtp_text(before.layout) is None
    assert {after.module_at(place) for place in after.places.values()} == set(after.layout.everything)


def test_what_is_said_of_it(full: Path) -> None:
    module = next(module for module in make_layout(open_checkpoint(full)).mtp if module.role == "up_proj")
    words = said(full, map_at(full).places[module.canonical], 140)
    for expected in (
        "mtp.layers.0.mlp.up_proj   nvfp4 4-bit, group 16 (E4M3 scales), told by its headers",
        "17408x5120 · 50.14 MB · read by drafts alone, which read 238.93 MB",
        f"mtp.safetensors, byte {module.offset:,}",
    ):
        assert expected in words
    assert said(full, Place("MTP", 20)) == "nvfp4 4-bit g16, 238.93 MB in mtp.safetensors, used for drafts"


@pytest.mark.parametrize("file", ["mtp.safetensors", "mtp/weights.safetensors"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_format_is_in_the_row_the_line_and_the_legend(spec: Spec | None, file: str, tmp_path: Path) -> None:
    write_mixture(tmp_path, lambda module: None)
    count = write_layer(tmp_path, spec, file=file)
    layer_map = map_at(tmp_path)
    letter = {None: "B", "nvfp4": "N", "mxfp8": "X", "affine": "5"}[spec and spec.mode]
    assert drawn(layer_map, View(Place("mixer", 0)))[-1].split() == ["MTP", f"{letter}BBB{letter * 4}BBB{letter * 3}B"]
    words = mtp_text(layer_map.layout)
    form = "bf16" if spec is None else f"{spec.mode} {spec.bits}-bit g{spec.group}"
    assert words is not None
    assert words.startswith(f"{form}, ")
    assert f" in {file}, used" in words
    assert sum(module.nbytes for module in layer_map.layout.mtp) == count
    assert any(form in line.plain for line in beside(layer_map, "mode", 30, 40))


def test_inside_the_checkpoint_it_is_in_a_shard(tmp_path: Path) -> None:
    write_case(CASES[0], tmp_path, mtp="inside")
    words = mtp_text(map_at(tmp_path).layout)
    assert words is not None
    assert words.startswith("f32, ")
    assert " in the only shard, used" in words


def test_one_that_does_not_fit_says_why(tmp_path: Path) -> None:
    write_mixture(tmp_path, lambda module: None)
    write_layer(tmp_path, without="mtp.norm.weight")
    layer_map = map_at(tmp_path)
    assert layer_map.layout.mtp == ()
    assert drawn(layer_map, View(Place("MTP", 0)))[-1] == "▸MTP"
    for width, end in ((30, ""), (160, "mtp.safetensors: ")):
        words = " ".join(said(tmp_path, Place("MTP", 0), width).split())
        assert words.startswith("not used: ")
        assert words.endswith(f"{end}tensor mtp.norm.weight of the MTP layer is missing")


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_its_values_are_read_from_its_file_by_its_names(spec: Spec | None, tmp_path: Path) -> None:
    write_mixture(tmp_path, lambda module: None)
    write_layer(tmp_path, spec)
    checkpoint = open_checkpoint(tmp_path)
    for module in make_layout(checkpoint).mtp:
        values = read_values(checkpoint, module.canonical)
        assert (values.module, values.elements) == (module.canonical, module.parameters)
        assert values.zero_count == values.elements
        assert values.names == module.tensors
    with pytest.raises(QwenError, match="not part of the text model"):
        compare_with_reference(checkpoint, checkpoint, "mtp.layers.0.mlp.up_proj")


def test_a_file_without_the_prefix_is_not_taken_for_the_text_model(tmp_path: Path) -> None:
    """Its `layers.0.mlp.up_proj` is not the model's."""
    case = CASES[4]
    write_case(case, tmp_path)
    layer = {name: laid_out(case, name, value) for name, value in mtp_weights(case)}
    write_safetensors(tmp_path / "mtp.safetensors", layer | {"layers.0.mlp.up_proj.weight": Stored("F32", (96, 64))})
    checkpoint = open_checkpoint(tmp_path)
    own, other = (read_values(checkpoint, f"{prefix}layers.0.mlp.up_proj") for prefix in ("", "mtp."))
    assert (own.zero_count, other.zero_count) == (0, other.elements)
    assert other.module == "mtp.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    "text", ["mtp", "up_proj", "nvfp4", "-mtp", "outside", "source:headers", "bits:16", "8-15 mtp"]
)
def test_a_filter_finds_it_as_all_else(text: str, full: Path) -> None:
    layer_map = map_at(full)
    found = matching(layer_map.layout, text)
    assert found is not None
    assert found <= set(layer_map.places)
    assert bool(found & {module.canonical for module in layer_map.layout.mtp}) == (text not in ("-mtp", "8-15 mtp"))
    chosen = [layer_map.layout.index[name] for name in found]
    assert choice_text(layer_map.layout, chosen).startswith(f"{len(found)} of {851 + MODULES} modules: ")
    assert len(matching(layer_map.layout, "mtp") or ()) == MODULES


@pytest.mark.parametrize("colouring", COLOURINGS)
def test_a_token_that_is_decoded_does_not_light_it(colouring: Colouring, full: Path) -> None:
    layer_map = map_at(full)
    for cell in layer_map.by_label["MTP"].cells:
        if cell is not None:
            _, paint = look_of(cell, layer_map, View(Place("mixer", 0), colouring, reading=True))
            # No errors are known of this model: its cells have none of the colours that can be lit.
            assert isinstance(paint, str) == (colouring == "error")
            assert isinstance(paint, str) or not paint.lit


async def test_the_cursor_walks_over_it(full: Path) -> None:
    async with stage(size=(100, 40)) as here:
        await inspect(here, full)
        await here.press("pagedown")
        assert place(here) == ("MTP", 0)
        assert "used for drafts" in below_rule(here)
        await here.press("right")
        assert place(here) == ("MTP", 49)
        assert below_rule(here).startswith(" mtp.fc   nvfp4 4-bit")
        await here.press("slash", *"mtp")
        assert here.lines()[2].startswith(f" {MODULES} of {851 + MODULES} modules")
        await here.press("enter", "t")
        assert "mtp.fc" in here.text()
        await here.press("t", "enter")
        assert "read by drafts alone" in here.text()
        await here.press("right")
        assert "mtp.pre_fc_norm_embedding" in here.text()
