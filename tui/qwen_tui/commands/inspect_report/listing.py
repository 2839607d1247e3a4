"""The long tables: a line for each layer, a line for each module."""

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from qwen_core.checkpoint.layout import Layout, ModuleLayout, total
from qwen_core.figures import shape_text
from qwen_tui.commands.inspect_report.grid import FAINT, MODE_STYLES, Column, Row, grid, mode_style, note_lines
from qwen_tui.commands.inspect_report.selection import OUTSIDE
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.text.formatting import percent
from qwen_tui.text.safe import one_line

# The matrices of a layer by what they do, whichever mixer it has.
_PLACES: dict[str, tuple[str, ...]] = {
    "in": ("q_proj", "k_proj", "v_proj", "in_proj_qkv", "in_proj_z"),
    "out": ("o_proj", "out_proj"),
    "gate": ("gate_proj",),
    "up": ("up_proj",),
    "down": ("down_proj",),
}
_USUAL_GROUPS = {"affine": 64, "nvfp4": 16, "mxfp4": 32, "mxfp8": 32}


def layer_table(subject: Subject, modules: Sequence[ModuleLayout], width: int) -> Iterator[Text]:
    """A line for each layer that has a module left, one for what lies outside, and the sum."""
    layout = subject.layout
    columns = (
        Column("layer", right=True),
        Column("kind"),
        *(Column(place, least=6) for place in _PLACES),
        Column("MB", right=True),
        Column("share", right=True),
        Column("bits", right=True),
    )
    by_layer: dict[int | None, list[ModuleLayout]] = {}
    for module in modules:
        by_layer.setdefault(module.layer, []).append(module)
    order = sorted(by_layer, key=lambda layer: len(layout.layer_kinds) if layer is None else layer)
    rows = [_layer_row(layout, layer, by_layer[layer]) for layer in order]
    rows.append(Row(("all", "", *("",) * len(_PLACES), *_sums(layout, modules)), (FAINT,) * 10))
    yield from grid(columns, rows, width, gap=1)
    yield from note_lines("in: q, k, v or in_proj_qkv, z; out: o or out_proj. affine6: group 64 unless said.", width)


def _layer_row(layout: Layout, layer: int | None, modules: Sequence[ModuleLayout]) -> Row:
    places = [[module for module in modules if module.role in roles] for roles in _PLACES.values()]
    number = "–" if layer is None else str(layer)
    kind = OUTSIDE if layer is None else layout.layer_kinds[layer]
    formats = ["/".join(dict.fromkeys(map(_code, place))) or "–" for place in places]
    styles = [MODE_STYLES.get(place[0].mode, FAINT) if place else FAINT for place in places]
    return Row((number, kind, *formats, *_sums(layout, modules)), ("", "bold" if kind == "full" else "", *styles))


def _sums(layout: Layout, modules: Iterable[ModuleLayout]) -> tuple[str, str, str]:
    chosen = total(modules)
    return f"{chosen.nbytes / 1e6:,.1f}", percent(layout.share(chosen.token_bytes)), f"{chosen.bits_per_weight:.2f}"


def _code(module: ModuleLayout) -> str:
    """ "affine6", "nvfp4", "bf16"; the group only where it is not the usual one of its mode."""
    if module.spec is None:
        return module.mode
    bits = str(module.bits) if module.mode == "affine" else ""
    group = "" if module.group_size == _USUAL_GROUPS.get(module.mode) else f"g{module.group_size}"
    return f"{module.mode}{bits}{group}"


def tensor_table(subject: Subject, modules: Sequence[ModuleLayout], width: int) -> Iterator[Text]:
    """A line for each module with everything that the headers say of it."""
    layout = subject.layout
    columns = (
        Column("#", right=True),
        Column("role", least=15),
        Column("format"),
        Column("shape", right=True),
        Column("MB", right=True),
        Column("% tok", right=True),
        Column("from"),
        Column("shard:byte", right=True),
        Column("align", right=True),
    )
    yield from grid(columns, [_tensor_row(subject, layout, module) for module in modules], width, gap=1)
    yield from note_lines(
        "from: def the default, own an override. align: of the weight's byte; * not all of it can be mapped.", width
    )


def format_text(module: ModuleLayout) -> str:
    """Mode, bits and group as short as can be: "nvfp4 4/16", "affine 6/64", "bf16"."""
    return module.mode if module.spec is None else f"{module.mode} {module.bits}/{module.group_size}"


def _tensor_row(subject: Subject, layout: Layout, module: ModuleLayout) -> Row:
    source = {"override": "own", "default": "def", "unquantised": "–"}[module.source]
    texts = (
        "–" if module.layer is None else str(module.layer),
        one_line(module.role),
        format_text(module),
        shape_text(module.shape),
        f"{module.nbytes / 1e6:.3f}" if module.nbytes < 1e6 else f"{module.nbytes / 1e6:.1f}",
        f"{layout.share(module.token_bytes) * 100:.2f}",
        source,
        f"{subject.shard_number(module)}:{module.offset}",
        _alignment(module.alignment) + ("" if module.element_aligned else "*"),
    )
    return Row(texts, ("", "", mode_style(module)))


def _alignment(count: int) -> str:
    return f"{count >> 10}K" if count >= 1 << 10 else str(count)
