"""The plan of a conversion as a table: which tensors get which format, and what each costs."""

from collections.abc import Iterator
from math import prod

from rich.console import RenderableType

from qwen_core.convert.plan import ConversionPlan, Decision
from qwen_core.figures import decimal_size, shape_text
from qwen_tui.commands.report import GAP, figures, folding, paragraph, table
from qwen_tui.text.formatting import ranges

NARROW = 100


def plan_lines(plan: ConversionPlan, width: int) -> Iterator[RenderableType]:
    """One line for all layers that treat a tensor alike, then the totals. Shapes are those before quantisation."""
    groups: dict[tuple[str, tuple[int, ...], str], list[Decision]] = {}
    for decision in plan.decisions:
        groups.setdefault((_path(decision), decision.shape, _format(decision)), []).append(decision)
    kinds = plan.checkpoint.config.layer_types
    columns = (
        *(folding("tensor", 25), folding("layers", 6), folding("shape", 10), folding("format", 8)),
        *map(figures, ("bits", "each", "all")),
    )
    rows = [_row(*key, group, kinds) for key, group in groups.items()]
    yield table(columns, rows, width, gap=1 if width < NARROW else GAP)
    parameters = sum(prod(decision.shape) for decision in plan.decisions)
    yield ""
    yield paragraph(
        f"{plan.rules.name}: {len(plan.outputs):,} tensors, {len(plan.specs)} quantised modules, {plan.nbytes:,} bytes "
        f"({decimal_size(plan.nbytes)}), {plan.nbytes * 8 / max(parameters, 1):.2f} bits a weight; from "
        f"{plan.source_bytes:,} bytes ({decimal_size(plan.source_bytes)})"
    )


def _row(
    path: str, shape: tuple[int, ...], form: str, group: list[Decision], kinds: tuple[str, ...]
) -> tuple[str, ...]:
    each = group[0].nbytes
    bits = f"{each * 8 / max(prod(shape), 1):.2f}"
    return (
        path,
        _layers(group, kinds),
        shape_text(shape),
        form,
        bits,
        decimal_size(each),
        decimal_size(each * len(group)),
    )


def _layers(group: list[Decision], kinds: tuple[str, ...]) -> str:
    """Which layers (or vision blocks) the group is of; "linear" for all linear-attention layers."""
    found = {layer for decision in group if (layer := _layer(decision)) is not None}
    linear = {index for index, kind in enumerate(kinds) if kind == "linear_attention"}
    if group[0].part == "text" and len(linear) > 1 and found == linear != set(range(len(kinds))):
        return f"linear ({len(linear)})"
    return ranges(found)


def _layer(decision: Decision) -> int | None:
    """The layer or vision block that a tensor is of."""
    return next((int(word) for word in decision.name.split(".") if word.isdigit()), None)


def _path(decision: Decision) -> str:
    """The tensor's place without its layer: "layers.*.mlp.up_proj"."""
    name = decision.module if decision.part == "text" else decision.name
    return ".".join("*" if word.isdigit() else word for word in name.split("."))


def _format(decision: Decision) -> str:
    return decision.outputs[0].dtype.lower() if decision.spec is None else str(decision.spec)
