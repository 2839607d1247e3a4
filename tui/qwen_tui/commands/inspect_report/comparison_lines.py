"""A comparison as lines and as plain values."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.figures import decimal_size, shape_text
from qwen_tui.commands.inspect_report.as_json import model_fields, module_fields, totals_fields
from qwen_tui.commands.inspect_report.comparison import Comparison, Pair
from qwen_tui.commands.inspect_report.formats import format_text
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.report import BAD, FAINT, HEADING, Cell, facts, figures, folding, paragraph, table, words
from qwen_tui.text.formatting import ranges


def comparison_lines(found: Comparison, width: int) -> Iterator[RenderableType]:
    """Which two, their totals, their roles, and every module that differs, layers that differ alike together."""
    sides = (("A", found.left), ("B", found.right))
    yield facts(((name, f"{side.name}: {side.checkpoint.path}") for name, side in sides), width)
    yield ""
    yield table((words(""), folding("A", 8), folding("B", 8), folding("B - A", 6)), _total_rows(found), width)
    yield ""
    formats = (folding("A", 8), folding("B", 8), figures("A a token"), figures("B - A"))
    yield table((Column("weight", min_width=10), *formats), _role_rows(found), width)
    yield ""
    yield paragraph(_verdict(found), HEADING)
    yield facts(_differences(found.differing), width)
    for name, side in sides:
        for warning in side.warnings:
            yield paragraph(f"warning of {name}: {warning}", BAD)


def _total_rows(found: Comparison) -> list[list[Cell]]:
    left, right = found.left, found.right

    def row(title: str, text: Callable[[Subject], str], amount: Callable[[Subject], int] | None = None) -> list[Cell]:
        both = text(left), text(right)
        if amount is None:
            difference = "=" if both[0] == both[1] else "differs"
        else:
            change = amount(right) - amount(left)
            difference = f"{change:+,}" if change else "="
        return [Text(title, FAINT), *both, Text(difference, "" if difference == "=" else HEADING)]

    def count(title: str, amount: Callable[[Subject], int]) -> list[Cell]:
        return row(title, lambda side: f"{amount(side):,}", amount)

    return [
        row("variant", lambda side: side.verdict.name),
        count("bytes on disk", lambda side: side.layout.nbytes),
        count("bytes of text", lambda side: side.layout.text.nbytes),
        count("bytes per token", lambda side: side.layout.token_bytes),
        row("bits per weight", lambda side: f"{side.layout.text.bits_per_weight:.3f}"),
        count("weights", lambda side: side.layout.text.parameters),
        count("tensors", lambda side: side.layout.tensors),
        count("quantised modules", lambda side: side.layout.quantised),
        count("overrides", lambda side: side.layout.overrides),
        count("layers", lambda side: len(side.layout.layer_kinds)),
        count("shards", lambda side: len(side.layout.shards)),
        row("head tied", lambda side: "yes" if side.layout.tied else "no"),
        row("layout", lambda side: "MLX" if side.checkpoint.converted else "raw"),
    ]


def _role_rows(found: Comparison) -> Iterator[list[Cell]]:
    for role in found.by_role():
        left, right = role.totals
        formats = tuple(_formats(side) for side in (role.left, role.right))
        change = _signed(right.token_bytes - left.token_bytes)
        same = change == "=" and formats[0] == formats[1]
        texts = (role.label, *formats, decimal_size(left.token_bytes), change)
        styles = (FAINT,) * 5 if same else ("", "", HEADING, "", HEADING)
        yield [Text(*cell) for cell in zip(texts, styles, strict=True)]


def _signed(count: int) -> str:
    """A difference of bytes: "+1.25 GB", "-310 B", "=" for none."""
    return f"{'+' if count > 0 else '-'}{decimal_size(abs(count))}" if count else "="


def _formats(modules: Sequence[ModuleLayout]) -> str:
    return ", ".join(dict.fromkeys(map(format_text, modules))) or "–"


def _verdict(found: Comparison) -> str:
    if not found.differing:
        return f"All {len(found.pairs):,} modules are stored alike (values are not compared)."
    return f"{len(found.differing):,} of {len(found.pairs):,} modules differ:"


def _differences(pairs: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    """(role, "from -> to, layers ..."): one entry for all layers that differ in the same way."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.present.role, _change(pair)), []).append(pair)
    for (role, change), alike in groups.items():
        layers = [pair.present.layer for pair in alike if pair.present.layer is not None]
        where = f", {'layer' if len(layers) == 1 else 'layers'} {ranges(layers)}" if layers else ""
        yield role, f"{change}{where}"


def _change(pair: Pair) -> str:
    left, right = pair.left, pair.right
    if left is None or right is None:
        return f"only in {'A' if right is None else 'B'}: {format_text(pair.present)}"
    parts = []
    if "spec" in pair.differences:
        parts.append(f"{format_text(left)} -> {format_text(right)}")
    if "shape" in pair.differences:
        parts.append(f"{shape_text(left.shape)} -> {shape_text(right.shape)}")
    return ", ".join(parts)


def comparison_fields(found: Comparison) -> dict[str, Any]:
    """Both models, the roles, and the modules that differ."""
    return {
        "left": {"model": model_fields(found.left), "totals": totals_fields(found.left)},
        "right": {"model": model_fields(found.right), "totals": totals_fields(found.right)},
        "roles": [
            {
                "weight": role.label,
                "left": _role_fields(role.left),
                "right": _role_fields(role.right),
            }
            for role in found.by_role()
        ],
        "compared": len(found.pairs),
        "modules": [
            {
                "name": pair.name,
                "layer": pair.present.layer,
                "role": pair.present.role,
                "differs": pair.differences,
                "left": module_fields(pair.left) if pair.left else None,
                "right": module_fields(pair.right) if pair.right else None,
            }
            for pair in found.differing
        ],
        "warnings": {"left": found.left.warnings, "right": found.right.warnings},
    }


def _role_fields(modules: Sequence[ModuleLayout]) -> dict[str, Any]:
    return {
        "formats": list(dict.fromkeys(map(format_text, modules))),
        "modules": len(modules),
        "bytes": sum(module.nbytes for module in modules),
        "weight_bytes_per_token": sum(module.token_bytes for module in modules),
    }
