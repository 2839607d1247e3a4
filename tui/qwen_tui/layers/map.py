"""The layer map as data: a layout in, rows of cells out. One column a layer, one row a role. Pure.

The modules of an MTP layer stand side by side in a row of their own, the last. Every module of the layout is in exactly
one cell. How cells become text is map_text.py's, which colours they take palette.py's, what is said about one of them
detail.py's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from qwen_core.checkpoint.layout import LayerKind, Layout, ModuleLayout
from qwen_core.checkpoint.variants import Verdict

Group = Literal["mixer", "linear", "full", "ffn", "small", "ends"]
Hue = Literal["nvfp4", "mxfp4", "mxfp8", "affine", "float"]

FULL_GLYPH, LINEAR_GLYPH = "█", "·"
STACK_MARK, SHARED_MARK = "≡", "+"
"""Before the label of a row of experts, where one cell is a layer's whole stack; and of the expert that all share."""
MODE_LETTERS = {"nvfp4": "N", "mxfp4": "M", "mxfp8": "X", "bf16": "B", "f16": "H", "f32": "F"}


@dataclass(frozen=True)
class RowSpec:
    """A row before it has cells: what it is called, the role it shows, and the kind of layer that has it (None: all).

    `about` says for people what the module does.
    """

    label: str
    role: str
    group: Group
    kind: LayerKind | None
    about: str


ROWS: tuple[RowSpec, ...] = (
    RowSpec("qkv", "in_proj_qkv", "linear", "linear", "query, key and value of the linear attention"),
    RowSpec("z", "in_proj_z", "linear", "linear", "output gate of the linear attention"),
    RowSpec("a", "in_proj_a", "linear", "linear", "decay of the state, one number a head"),
    RowSpec("b", "in_proj_b", "linear", "linear", "strength of the update, one number a head"),
    RowSpec("out", "out_proj", "linear", "linear", "from the linear attention back to the residual"),
    RowSpec("q", "q_proj", "full", "full", "query and output gate of the full attention"),
    RowSpec("k", "k_proj", "full", "full", "key of the full attention"),
    RowSpec("v", "v_proj", "full", "full", "value of the full attention"),
    RowSpec("o", "o_proj", "full", "full", "from the full attention back to the residual"),
    RowSpec("ffn gate", "gate_proj", "ffn", None, "gate of the feed-forward block"),
    RowSpec("ffn up", "up_proj", "ffn", None, "into the feed-forward block"),
    RowSpec("ffn down", "down_proj", "ffn", None, "from the feed-forward block back to the residual"),
    RowSpec("router", "gate", "ffn", None, "scores every expert for a token; the best few take it"),
    RowSpec("≡ gate", "switch_mlp.gate_proj", "ffn", None, "gate of each expert"),
    RowSpec("≡ up", "switch_mlp.up_proj", "ffn", None, "into each expert"),
    RowSpec("≡ gate, up", "experts.gate_up_proj", "ffn", None, "gate of each expert, and into it"),
    RowSpec("≡ down", "switch_mlp.down_proj", "ffn", None, "from each expert back to the residual"),
    RowSpec("≡ down", "experts.down_proj", "ffn", None, "from each expert back to the residual"),
    RowSpec("+ gate", "shared_expert.gate_proj", "ffn", None, "gate of the expert that all tokens share"),
    RowSpec("+ up", "shared_expert.up_proj", "ffn", None, "into the expert that all tokens share"),
    RowSpec("+ down", "shared_expert.down_proj", "ffn", None, "from the shared expert back to the residual"),
    RowSpec("+ weight", "shared_expert_gate", "ffn", None, "how much the shared expert counts"),
    RowSpec("input norm", "input_layernorm", "small", None, "RMSNorm before the mixer"),
    RowSpec("post norm", "post_attention_layernorm", "small", None, "RMSNorm before the feed-forward block"),
    RowSpec("conv1d", "conv1d", "small", "linear", "short convolution over query, key and value"),
    RowSpec("A_log", "A_log", "small", "linear", "decay rate of each head"),
    RowSpec("dt_bias", "dt_bias", "small", "linear", "bias of the decay"),
    RowSpec("gated norm", "linear_attn.norm", "small", "linear", "RMSNorm of the linear attention's output"),
    RowSpec("q norm", "q_norm", "small", "full", "RMSNorm of each query head"),
    RowSpec("k norm", "k_norm", "small", "full", "RMSNorm of each key head"),
)
MIXER = RowSpec("mixer", "", "mixer", None, "which attention the layer has")
ENDS = RowSpec("ends", "", "ends", "outside", "before the first layer and after the last")
MTP = RowSpec("MTP", "", "ends", "outside", "the layer that drafts the tokens after the next")
ABOUT: Mapping[str, str] = {
    **{row.role: row.about for row in ROWS},
    "embed_tokens": "a row for each token of the vocabulary; a token reads one",
    "norm": "RMSNorm after the last layer",
    "fc": "joins a token's hidden vector and the embedding of the next",
    "pre_fc_norm_embedding": "RMSNorm of the next token's embedding",
    "pre_fc_norm_hidden": "RMSNorm of the hidden vector",
    "mtp.norm": "RMSNorm after the MTP layer",
    "lm_head": "from the residual to a score for each token of the vocabulary",
}
GROUP_NAMES: Mapping[Group, str] = {
    "linear": "linear attention",
    "full": "full attention",
    "ffn": "feed-forward",
    "small": "small tensors",
}


@dataclass(frozen=True)
class Cell:
    """One module on the map, or (module None) what the mixer row says of a layer."""

    glyph: str
    hue: Hue | LayerKind
    bits: int
    module: ModuleLayout | None = None


@dataclass(frozen=True)
class MapRow:
    """One role over all columns; None where a layer has no such module."""

    spec: RowSpec
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Place:
    """Where the cursor is: the key of a row (`spec.label`) and a column."""

    row: str
    column: int


@dataclass(frozen=True)
class LayerMap:
    """The whole map. There are at least three columns, so that the ends have room below a model of one layer."""

    layout: Layout
    verdict: Verdict
    rows: tuple[MapRow, ...]
    columns: int

    @cached_property
    def by_label(self) -> Mapping[str, MapRow]:
        return {row.spec.label: row for row in self.rows}

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Where each module is, by canonical name."""
        return {
            cell.module.canonical: Place(row.spec.label, column)
            for row in self.rows
            for column, cell in enumerate(row.cells)
            if cell is not None and cell.module is not None
        }

    @cached_property
    def start(self) -> Place:
        """Where the cursor is at first: the first row of the feed-forward part."""
        return Place(next((row.spec.label for row in self.rows if row.spec.group == "ffn"), MIXER.label), 0)

    def at(self, place: Place) -> Cell | None:
        row = self.by_label.get(place.row)
        return row.cells[place.column] if row is not None and 0 <= place.column < len(row.cells) else None

    def module_at(self, place: Place) -> ModuleLayout | None:
        cell = self.at(place)
        return None if cell is None else cell.module

    def is_small(self, module: ModuleLayout) -> bool:
        """Whether it is in one of the rows that may be hidden."""
        return self.by_label[self.places[module.canonical].row].spec.group == "small"

    @cached_property
    def tallest(self) -> int:
        """Bytes a token reads of the costliest module inside the layers: what a full bar stands for."""
        inside = [module.token_bytes for module in self.layout.modules if module.layer is not None]
        return max(inside, default=0)

    @cached_property
    def layers(self) -> Mapping[int, tuple[ModuleLayout, ...]]:
        """The modules of each layer."""
        found: dict[int, list[ModuleLayout]] = {}
        for module in self.layout.modules:
            if module.layer is not None:
                found.setdefault(module.layer, []).append(module)
        return {layer: tuple(modules) for layer, modules in found.items()}


def make_map(layout: Layout, verdict: Verdict) -> LayerMap:
    """The map of a layout."""
    layers = len(layout.layer_kinds)
    outside = [module for module in layout.modules if module.layer is None]
    columns = max(layers, 3, len(outside), len(layout.mtp))
    rows = [MapRow(MIXER, tuple(_mixer_cell(kind) for kind in layout.layer_kinds) + (None,) * (columns - layers))]
    known = {spec.role for spec in ROWS}
    # A role that the architecture may gain later still gets a row, so that nothing is ever left out of the map.
    others = dict.fromkeys(m.role for m in layout.modules if m.layer is not None and m.role not in known)
    specs = (*ROWS, *(RowSpec(role, role, "small", None, role) for role in others))
    has_rows = {module.role for module in layout.modules}
    for spec in specs:
        # A model has either a feed-forward block or a mixture of experts, and is not told of what it lacks.
        if spec.group == "ffn" and spec.role not in has_rows:
            continue
        modules = [layout.at(layer, spec.role) for layer in range(layers)] + [None] * (columns - layers)
        rows.append(MapRow(spec, tuple(None if module is None else _cell(module) for module in modules)))
    rows.append(MapRow(ENDS, _ends(outside, columns)))
    if layout.mtp or layout.mtp_problem:
        rows.append(MapRow(MTP, _ends(list(layout.mtp), columns)))
    return LayerMap(layout, verdict, tuple(rows), columns)


def _mixer_cell(kind: LayerKind) -> Cell:
    return Cell(FULL_GLYPH if kind == "full" else LINEAR_GLYPH, kind, 0)


def _ends(outside: list[ModuleLayout], columns: int) -> tuple[Cell | None, ...]:
    """The embedding below the first layer; what follows the layers below the last ones."""
    before = [_cell(module) for module in outside if module.role == "embed_tokens"]
    after = [_cell(module) for module in outside if module.role != "embed_tokens"]
    return (*before, *(None for _ in range(columns - len(before) - len(after))), *after)


def _cell(module: ModuleLayout) -> Cell:
    return Cell(glyph_of(module), hue_of(module), module.bits, module)


def glyph_of(module: ModuleLayout) -> str:
    """One character for the format: a letter for a float format, the digit of its bits for affine."""
    if module.mode == "affine":
        return str(module.bits)
    return MODE_LETTERS.get(module.mode, "?")


def hue_of(module: ModuleLayout) -> Hue:
    """The class that colour by mode goes by."""
    match module.mode:
        case "nvfp4" | "mxfp4" | "mxfp8" | "affine":
            return module.mode
        case _:
            return "float"
