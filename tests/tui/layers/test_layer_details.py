"""What the inspector says in words: details from headers, absences, the filter, the table."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.demo import demo_model_path
from qwen_core.tensors.rounding_error import with_errors
from qwen_tui.layers.detail import header_lines
from qwen_tui.layers.facts import alignment_of, choice_text, facts_of, reading_line, title_of
from qwen_tui.layers.filter import MAX_LENGTH, matching
from qwen_tui.layers.map import LayerMap, Place
from qwen_tui.layers.map_text import Lines, flowed
from qwen_tui.layers.table import COLUMNS, ERROR, Order, column_at, columns_of, fitting, head_line, module_line, ordered
from qwen_tui.text.safe import cells
from support.checkpoints import write_checkpoint
from support.layouts import map_at, map_of
from support.mixtures import write_mixture


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, LayerMap]:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    checkpoint = open_checkpoint(path)
    return checkpoint, map_of(checkpoint)


def said(full: tuple[Checkpoint, LayerMap], row: str, column: int, width: int = 98) -> list[str]:
    checkpoint, layer_map = full
    return texts(header_lines(layer_map, checkpoint, Place(row, column), width))


def texts(lines: Lines) -> list[str]:
    return [line.plain for line in lines]


def test_a_module_in_words(full: tuple[Checkpoint, LayerMap]) -> None:
    module = full[1].layout.index["layers.8.mlp.gate_proj"]
    assert module.shard == "model-00004-of-00005.safetensors"
    assert said(full, "ffn gate", 8) == [
        "layer 8 · mlp.gate_proj   nvfp4 4-bit, group 16 (E4M3 scales), from the top-level default",
        "17408x5120 · 50.14 MB · 0.25 % of a token · 4.50 bits a weight, scales included",
        f"shard 4 of 5, byte {module.offset:,} · aligned to 4 B: mapped as it lies",
        "gate of the feed-forward block",
    ]
    assert said(full, "ffn down", 8)[0].endswith("affine 5-bit, group 64 (bf16 scales and biases), from an override")
    assert said(full, "out", 8)[0] == "layer 8 · linear_attn.out_proj   bf16, not quantised"
    assert "16.00 bits a weight" in said(full, "out", 8)[1]
    assert "scales included" not in said(full, "out", 8)[1]
    assert said(full, "ffn gate", 8, 58)[:2] == [
        "layer 8 · mlp.gate_proj",
        "nvfp4 4-bit g16, default · 50.14 MB · 0.25 % of a token",
    ]


def test_the_embedding_reads_one_row_a_token(full: tuple[Checkpoint, LayerMap]) -> None:
    words = " ".join(said(full, "ends", 0, 200))
    assert words.startswith("embed_tokens   affine 6-bit")
    assert "1.03 GB · a token reads 4.16 kB of it, one row (< 0.01 % of a token)" in words
    assert "6.76 % of a token" in " ".join(said(full, "ends", 63, 200))


def test_a_layer_in_words(full: tuple[Checkpoint, LayerMap]) -> None:
    _, layer_map = full
    assert said(full, "mixer", 3)[0] == "layer 3   full attention"
    assert "one of 16 layers of 64 with full attention" in said(full, "mixer", 3)
    assert said(full, "mixer", 4)[0] == "layer 4   linear attention"
    shares = [said(full, "mixer", layer)[1].split(" · ")[2] for layer in (3, 4)]
    for layer, share in zip((3, 4), shares, strict=True):
        read = sum(module.token_bytes for module in layer_map.layers[layer])
        assert share == f"{100 * read / layer_map.layout.token_bytes:.2f} % of a token"


def test_an_empty_cell_says_why(full: tuple[Checkpoint, LayerMap], tmp_path: Path) -> None:
    assert said(full, "qkv", 3) == ["layer 3 is a full-attention layer: it has no in_proj_qkv"]
    assert said(full, "k norm", 0) == ["layer 0 is a linear-attention layer: it has no k_norm"]
    assert said(full, "ends", 20)[0].endswith("norm and lm_head in the last")
    text = {"num_hidden_layers": 1, "full_attention_interval": 2}
    write_mixture(tmp_path, lambda module: None, text=text, tied=True)
    layer_map = map_at(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert texts(header_lines(layer_map, checkpoint, Place("ffn up", 2), 98)) == [
        "there is no layer 2: the model has 1",
    ]
    assert "the embedding is the head as well" in texts(header_lines(layer_map, checkpoint, Place("ends", 1), 120))[0]


def test_every_place_has_something_to_say_at_any_width(full: tuple[Checkpoint, LayerMap]) -> None:
    checkpoint, layer_map = full
    for row in layer_map.rows:
        for column in (0, 3, 31, 63):
            for width in (1, 9, 37, 98):
                lines = header_lines(layer_map, checkpoint, Place(row.spec.label, column), width)
                assert lines
                assert all(line.cell_length <= width for line in lines)


def test_alignment_is_said_as_the_loader_decides() -> None:
    module = map_at(demo_model_path()).layout.modules[0]
    assert alignment_of(replace(module, element_aligned=False)) == "unaligned: copied once"
    assert alignment_of(replace(module, element_aligned=True, offset=64)) == "aligned to 64 B: mapped as it lies"
    assert alignment_of(replace(module, element_aligned=True, offset=0)) == "aligned to 16,384 B: mapped as it lies"


def test_names_from_a_file_stay_harmless() -> None:
    """A prefix of a tensor's name may be anything, and so may a file's."""
    layer_map = map_at(demo_model_path())
    module = replace(
        layer_map.layout.index["layers.0.mlp.up_proj"],
        name="\x1b[2J[red]x[/red]\u202e\n" + "y" * 5000,
        tensors=("\x1b[2J[red]x[/red]\u202e\n" + "y" * 5000 + ".weight", "z" * 5000),
        shard="a\x1b]0;t\x07b.safetensors",
        canonical="layers.0.mlp.\x9bup",
        role="\x1brole",
    )
    facts = facts_of(module, layer_map.layout, open_checkpoint(demo_model_path()))
    assert title_of(module).isprintable()
    texts = [piece.text for fact in facts.labelled for piece in fact.pieces]
    assert all(text.isprintable() and len(text) < 400 for text in texts)
    assert any("[red]x[/red]" in text for text in texts)
    for cursor in (False, True):
        assert module_line(module, layer_map.layout, 160, cursor).plain.isprintable()


def test_while_decoding_the_line_gives_the_layouts_total_to_the_byte(full: tuple[Checkpoint, LayerMap]) -> None:
    _, layer_map = full
    assert reading_line(layer_map, 17.3, 40) == [
        f"a token reads 19.99 GB ({layer_map.layout.token_bytes:,} B)",
        "17.3 tok/s",
        "346 GB/s of weights, estimated",
        "40 tokens so far: 799.78 GB",
    ]
    assert reading_line(layer_map, None, 0) == ["a token reads 19.99 GB (19,994,594,368 B)"]


@given(st.lists(st.text(alphabet="ab c东", min_size=1, max_size=30), max_size=8), st.integers(1, 60))
def test_flowed_lines_fit_and_keep_every_piece_that_can_fit(pieces: list[str], width: int) -> None:
    lines = flowed(map(Content, pieces), width)
    assert all(line.cell_length <= width for line in lines)
    whole = "\n".join(texts(lines))
    assert all(piece in whole for piece in pieces if cells(piece) <= width)


# The filter.


def count(layer_map: LayerMap, text: str) -> int | None:
    found = matching(layer_map.layout, text)
    return None if found is None else len(found)


def test_what_a_filter_leaves_of_the_full_27b(full: tuple[Checkpoint, LayerMap]) -> None:
    _, layer_map = full
    expected = {
        "": None,
        "   ": None,
        "nvfp4": 128,
        "mode:nvfp4": 128,
        "NVFP4": 128,
        "override": 210,
        "source:override": 210,
        "source:default": 128,
        "bf16": 513,
        "bits:16": 513,
        "6-bit": 145,
        "down": 64,
        "role:down": 64,
        "ffn": 192,
        "ffn-gate": 64,
        "8": 14,
        "layer:8": 14,
        "3": 11,
        "8-9": 28,
        "8..9 nvfp4": 4,
        "full mode:affine": 64,
        "kind:outside": 3,
        "lm_head": 1,
        "-bf16": 338,
        "-8-9 nvfp4": 124,
        "nvfp4 affine": 0,
        "layer:x": 0,
        "no such thing": 0,
    }
    assert {text: count(layer_map, text) for text in expected} == expected
    matches = matching(layer_map.layout, "nvfp4")
    assert matches is not None
    left = [layer_map.layout.index[name] for name in matches]
    assert choice_text(layer_map.layout, left) == "128 of 851 modules: 6.42 GB, 32.1 % of what a token reads"


@given(st.text(max_size=300))
def test_any_text_is_a_filter(text: str) -> None:
    layout = map_at(demo_model_path()).layout
    found = matching(layout, text)
    assert (found is None) == (not text[:MAX_LENGTH].split())
    assert (found or set()) <= set(layout.index)
    assert matching(layout, " " * MAX_LENGTH + "nvfp4") is None  # what is longer is not read


# The table.


def test_the_table_sorts_by_every_column_both_ways() -> None:
    layout = map_at(demo_model_path()).layout
    order = Order()
    assert ordered(layout.modules, order) == list(layout.modules)
    for number, column in enumerate(COLUMNS):
        order = order.next()
        assert order.column == number
        keys = [column.key(module) for module in ordered(layout.modules, order)]
        assert keys == sorted(keys, reverse=order.reverse)
        turned = [column.key(module) for module in ordered(layout.modules, order.by(number))]
        assert turned == sorted(keys, reverse=not order.reverse)
    assert order.next() == Order()
    by_cost = ordered(layout.modules, Order(4, True))
    assert by_cost[0].role == "lm_head"


def test_where_errors_are_known_the_table_has_them_and_sorts_by_them() -> None:
    layout = map_at(demo_model_path()).layout
    assert columns_of(layout) == COLUMNS
    known = with_errors(layout, {"lm_head": 0.004, "layers.1.mlp.up_proj": 0.085})
    columns = columns_of(known)
    assert columns[-1] is ERROR
    assert "error" in head_line(Order(), 100, columns).plain
    first, second, third, *_ = ordered(known.modules, Order(len(COLUMNS), True), columns)
    assert (first.canonical, second.canonical, third.error) == ("layers.1.mlp.up_proj", "lm_head", None)
    assert "8.50 %" in module_line(first, known, 100, False, columns).plain


def test_the_table_as_text(full: tuple[Checkpoint, LayerMap]) -> None:
    _, layer_map = full
    layout = layer_map.layout
    module = layout.index["layers.8.mlp.down_proj"]
    assert head_line(Order(3, True), 100).plain.rstrip() == (
        " layer  module                    format                   stored▾   per token   bits  source"
    )
    assert module_line(module, layout, 100, False).plain.rstrip() == (
        "     8  mlp.down_proj             5 affine 5-bit g64      61.28 MB      0.31 %   5.50  override"
    )
    assert module_line(module, layout, 100, True).plain.startswith("▸    8  mlp.down_proj")
    assert module_line(module, layout, 34, False).plain.rstrip() == "     8  mlp.down_proj"
    assert choice_text(layout, layout.modules) == "851 of 851 modules: 21.03 GB, 100.0 % of what a token reads"


@pytest.mark.parametrize("width", [1, 5, 34, 60, 100, 160])
def test_the_table_fits_and_its_titles_are_where_they_are_clicked(width: int) -> None:
    layout = map_at(demo_model_path()).layout
    head = head_line(Order(), width).plain
    rows: list[ModuleLayout] = list(layout.modules)
    assert len(head) <= width
    assert all(cells(module_line(module, layout, width, False).plain) <= width for module in rows)
    for number in fitting(width):
        title = COLUMNS[number].title
        if title in head:
            assert column_at(head.index(title), width) == number
