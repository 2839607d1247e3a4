"""Layouts that the tests of the layer map look at, and the map drawn as text."""

from functools import cache
from pathlib import Path

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.variants import identify
from qwen_tui.layers.map import LayerMap, make_map
from qwen_tui.layers.map_text import View, axis_line, heading_line, lines_of, row_line
from qwen_tui.widgets.cursor_list import Heading


def map_of(checkpoint: Checkpoint) -> LayerMap:
    layout = make_layout(checkpoint)
    return make_map(layout, identify(layout))


@cache
def map_at(path: Path) -> LayerMap:
    """The map of a directory; read once, so only for directories that a test leaves as they are."""
    return map_of(open_checkpoint(path))


def drawn(layer_map: LayerMap, view: View, *, small: bool = False, headings: bool = False) -> list[str]:
    """Axis and rows as text, without trailing blanks."""
    rows = [axis_line(layer_map, view)]
    for line in lines_of(layer_map, small=small, headings=headings):
        rows.append(heading_line(line.name) if isinstance(line, Heading) else row_line(line, layer_map, view))
    return [row.plain.rstrip() for row in rows]
