"""The modules of a layout as a table: which columns a width has room for, their order, their text. Pure.

A table of its own, because the toolkit's lays out every row before it shows one: most of a second for a large model,
and again at each letter of a filter.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from textual.content import Content

from qwen_core.checkpoint.layout import Layout, ModuleLayout
from qwen_core.figures import decimal_size, percent, shape_text
from qwen_tui.layers.facts import inside_of
from qwen_tui.layers.map import STACK_MARK, glyph_of, hue_of
from qwen_tui.layers.map_text import MUTED, STRONG, Paint, bits_step
from qwen_tui.widgets.cursor_list import MARK, selected


@dataclass(frozen=True)
class TableColumn:
    """One column. `rank`: the lower, the longer it stays when the width shrinks. `key` sorts; figures are at the right.

    `left`: text. `falling`: sorted by for the first time, the largest comes first.
    """

    title: str
    width: int
    rank: int
    text: Callable[[ModuleLayout, Layout], str]
    key: Callable[[ModuleLayout], Any]
    left: bool = False
    falling: bool = False


def _shard(module: ModuleLayout, layout: Layout) -> str:
    return str(layout.shards.index(module.shard) + 1) if module.shard in layout.shards else "?"


def _share(module: ModuleLayout, layout: Layout) -> str:
    return percent(layout.share(module.token_bytes))


def _name(module: ModuleLayout) -> str:
    """The name without its layer; a stack of experts is marked as one, as on the map."""
    return f"{STACK_MARK} {inside_of(module)}" if module.experts else inside_of(module)


def _error(module: ModuleLayout) -> str:
    return "" if module.error is None else percent(module.error)


def _layer(module: ModuleLayout) -> int:
    """-1 outside the layers: before the first of them."""
    return -1 if module.layer is None else module.layer


COLUMNS: tuple[TableColumn, ...] = (
    TableColumn("layer", 5, 0, lambda module, _: "" if module.layer is None else str(module.layer), _layer),
    TableColumn("module", 24, 1, lambda module, _: _name(module), inside_of, left=True),
    TableColumn("format", 21, 2, lambda module, _: module.format, attrgetter("bits", "format"), left=True),
    TableColumn("stored", 9, 4, lambda module, _: decimal_size(module.nbytes), attrgetter("nbytes"), falling=True),
    TableColumn("per token", 10, 3, _share, attrgetter("token_bytes"), falling=True),
    TableColumn(
        "bits", 5, 5, lambda module, _: f"{module.bits_per_weight:.2f}", attrgetter("bits_per_weight"), falling=True
    ),
    TableColumn("source", 11, 6, lambda module, _: module.source, attrgetter("source"), left=True),
    TableColumn("shape", 17, 7, lambda module, _: shape_text(module.shape), attrgetter("parameters")),
    TableColumn("shard", 5, 8, _shard, attrgetter("shard")),
)
Columns = tuple[TableColumn, ...]
ERROR = TableColumn("error", 8, 3, lambda module, _: _error(module), lambda module: module.error or 0.0, falling=True)


def columns_of(layout: Layout) -> tuple[TableColumn, ...]:
    """With the error of a weight where some is known."""
    return (*COLUMNS, ERROR) if any(module.error is not None for module in layout.modules) else COLUMNS


@dataclass(frozen=True)
class Order:
    """Sorted by a column (None: as the model computes), the other way round if `reverse`."""

    column: int | None = None
    reverse: bool = False

    def next(self, columns: Columns = COLUMNS) -> "Order":
        """By the next column; most figures begin with the largest."""
        number = 0 if self.column is None else self.column + 1
        return Order(number, columns[number].falling) if number < len(columns) else Order()

    def by(self, column: int) -> "Order":
        """By a column that was clicked; a second click reverses the order."""
        return Order(column, self.column == column and not self.reverse)


def ordered(modules: Iterable[ModuleLayout], order: Order, columns: Columns = COLUMNS) -> list[ModuleLayout]:
    """The modules in `order`; equal ones stay as the model computes."""
    rows = list(modules)
    if order.column is not None:
        rows.sort(key=columns[order.column].key, reverse=order.reverse)
    elif order.reverse:
        rows.reverse()
    return rows


def fitting(width: int, columns: Columns = COLUMNS) -> list[int]:
    """The numbers of the columns that `width` has room for, in their order on screen; one at least."""
    chosen: list[int] = []
    room = width - 1
    for number in sorted(range(len(columns)), key=lambda n: columns[n].rank):
        if chosen and columns[number].width + 2 > room:
            break
        chosen.append(number)
        room -= columns[number].width + 2
    return sorted(chosen)


def head_line(order: Order, width: int, columns: Columns = COLUMNS) -> Content:
    """The titles, the one sorted by with an arrow."""
    parts: list[str | tuple[str, str]] = [" "]
    for number in fitting(width, columns):
        column = columns[number]
        is_here = number == order.column
        title = f"{column.title}{'▾' if order.reverse else '▴'}" if is_here else column.title
        parts += [(_placed(title, column, column.width), STRONG if is_here else MUTED), "  "]
    return Content.assemble(*parts).truncate(width)


def _placed(text: str, column: TableColumn, width: int) -> str:
    return text[:width].ljust(width) if column.left else text[-width:].rjust(width)


def column_at(x: int, width: int, columns: Columns = COLUMNS) -> int | None:
    """The column drawn at cell `x`."""
    position = 1
    for number in fitting(width, columns):
        position += columns[number].width + 2
        if x < position:
            return number
    return None


def module_line(module: ModuleLayout, layout: Layout, width: int, cursor: bool, columns: Columns = COLUMNS) -> Content:
    """One row; the format is preceded by its glyph on the map."""
    hue = hue_of(module)
    glyph = Paint("tile", hue, 4 if hue == "float" else bits_step(module.bits))
    parts: list[tuple[str, str]] = []
    for number in fitting(width, columns):
        column = columns[number]
        text, room = column.text(module, layout), column.width
        if column.title == "format":
            parts.append((glyph_of(module), glyph.style))
            text, room = f" {text}", room - 1
        parts.append((f"{_placed(text, column, room)}  ", "" if column.rank < 4 else MUTED))
    line = Content.assemble(*parts)
    whole = Content.assemble(MARK if cursor else " ", line)
    return selected(whole, width) if cursor else whole.truncate(width)
