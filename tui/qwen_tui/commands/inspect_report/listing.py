"""The long tables: a line for each layer, a line for each module."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from qwen_core.checkpoint.layout import Layout, ModuleLayout, total
from qwen_core.figures import percent, shape_text
from qwen_tui.commands.inspect_report.formats import format_code, format_text, mode_style
from qwen_tui.commands.inspect_report.selection import OUTSIDE
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.report import FAINT, Cell, figures, folding, paragraph, table, words
from qwen_tui.layers.map import SHARED_MARK, STACK_MARK

# The matrices of a layer by what they do, whichever mixer it has.
_PLACES: dict[str, tuple[str, ...]] = {
    "in": ("q_proj", "k_proj", "v_proj", "in_proj_qkv", "in_proj_z"),
    "out": ("o_proj", "out_proj"),
    "gate": ("gate_proj", "switch_mlp.gate_proj", "experts.gate_up_proj", "shared_expert.gate_proj"),
    "up": ("up_proj", "switch_mlp.up_proj", "experts.gate_up_proj", "shared_expert.up_proj"),
    "down": ("down_proj", "switch_mlp.down_proj", "experts.down_proj", "shared_expert.down_proj"),
}


def layer_table(subject: Subject, modules: Sequence[ModuleLayout], width: int) -> Iterator[RenderableType]:
    """A line for each layer that has a module left, one for what lies outside, one for the MTP layer, and the sum."""
    layout = subject.layout
    columns = (
        *(figures("layer"), words("kind"), *(folding(place, 6) for place in _PLACES)),
        *map(figures, ("MB", "share", "bits")),
    )
    inside = [module for module in modules if module not in layout.mtp]
    by_layer: dict[int | None, list[ModuleLayout]] = {}
    for module in inside:
        by_layer.setdefault(module.layer, []).append(module)
    order = sorted(by_layer, key=lambda layer: len(layout.layer_kinds) if layer is None else layer)
    rows = [_layer_row(layout, layer, by_layer[layer]) for layer in order]
    if len(inside) < len(modules):
        rows.append(_layer_row(layout, "MTP", layout.mtp))
    sums = ("all", "", *("",) * len(_PLACES), *_sums(layout, modules))
    rows.append([Text(cell, FAINT) for cell in sums])
    yield table(columns, rows, width, gap=1)
    yield paragraph("in: q, k, v or in_proj_qkv, z; out: o or out_proj. affine6: group 64 unless said.", FAINT)


def _layer_row(layout: Layout, layer: int | str | None, modules: Sequence[ModuleLayout]) -> list[Cell]:
    kind = layout.layer_kinds[layer] if isinstance(layer, int) else OUTSIDE if layer is None else "drafts"
    row: list[Cell] = ["–" if layer is None else str(layer), Text(kind, "bold" if kind == "full" else "")]
    for roles in _PLACES.values():
        place = [module for module in modules if module.role in roles]
        formats = "/".join(dict.fromkeys(map(format_code, place)))
        row.append(Text(formats, mode_style(place[0])) if place else Text("–", FAINT))
    return [*row, *_sums(layout, modules)]


def _sums(layout: Layout, modules: Iterable[ModuleLayout]) -> tuple[str, str, str]:
    chosen = total(modules)
    return f"{chosen.nbytes / 1e6:,.1f}", percent(layout.share(chosen.token_bytes)), f"{chosen.bits_per_weight:.2f}"


def tensor_table(subject: Subject, modules: Sequence[ModuleLayout], width: int) -> Iterator[RenderableType]:
    """A line for each module with everything that the headers say of it."""
    columns = (
        *(figures("#"), Column("role", min_width=15), words("format"), *map(figures, ("shape", "MB", "% tok"))),
        *(words("from"), figures("shard:byte"), figures("align")),
    )
    yield table(columns, [_tensor_row(subject, module) for module in modules], width, gap=1)
    marks = f" {STACK_MARK} a stack of experts, {SHARED_MARK} the shared expert." if subject.layout.mixture else ""
    about = "from: def the default, own an override. align: of the weight's byte; * not all of it can be mapped."
    yield paragraph(about + marks, FAINT)


def _tensor_row(subject: Subject, module: ModuleLayout) -> list[Cell]:
    return [
        "MTP" if module in subject.layout.mtp else "–" if module.layer is None else str(module.layer),
        _role_text(module),
        Text(format_text(module), mode_style(module)),
        shape_text(module.shape),
        f"{module.nbytes / 1e6:.3f}" if module.nbytes < 1e6 else f"{module.nbytes / 1e6:.1f}",
        f"{subject.layout.share(module.token_bytes) * 100:.2f}",
        {"override": "own", "default": "def", "headers": "–", "unquantised": "–"}[module.source],
        f"{subject.file_of(module)}:{module.offset}",
        _alignment(module.alignment) + ("" if module.element_aligned else "*"),
    ]


def _role_text(module: ModuleLayout) -> str:
    """The role, the experts marked as on the layer map."""
    parent, _, role = module.role.rpartition(".")
    if module.experts:
        return f"{STACK_MARK} {role}"
    return f"{SHARED_MARK} {role}" if parent == "shared_expert" else module.role


def _alignment(count: int) -> str:
    return f"{count:,}"
