"""Which experts an answer uses, as a widget: a row of heat for each layer, drawn where it is in view."""

from textual.content import Content

from qwen_core.checkpoint.config import MixtureConfig
from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.layers.expert_use import HeatRow, axis_line, heat_line
from qwen_tui.layers.painter import CellStyles
from qwen_tui.widgets.cursor_list import CursorList


class ExpertHeat(CursorList[int], CellStyles):
    """An axis, and below it a row for each layer."""

    ABOVE = WHEEL = 1

    def __init__(self, mixture: MixtureConfig, layers: int, layer: int) -> None:
        super().__init__()
        self._mixture = mixture
        self._use: ExpertUse | None = None
        self.fill(range(layers), layer)

    @property
    def number(self) -> int:
        """The layer that the cursor is on."""
        return self._cursor

    def show(self, use: ExpertUse | None) -> None:
        if use is not self._use:
            self._use = use
            self.refresh()

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        return heat_line(self._use, self._mixture, HeatRow(number, cursor), width)

    def other_line(self, y: int, width: int) -> Content:
        return axis_line(self._mixture.experts, width) if y == 0 else Content("")
