"""One tensor on a whole screen: what the headers say of it, and its values as large as there is room for."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.base_screen import EXPERT_KEYS, LayersScreen
from qwen_tui.layers.detail import expert_line, fact_lines
from qwen_tui.layers.facts import facts_of
from qwen_tui.layers.inspection import Inspection, Opened
from qwen_tui.layers.map import Place
from qwen_tui.layers.map_text import BAD, MUTED, STRONG
from qwen_tui.layers.painter import CellRows
from qwen_tui.layers.status import InspectorStatus
from qwen_tui.layers.values_reader import ValuesReader
from qwen_tui.text.safe import one_line


class TensorScreen(LayersScreen):
    """Closes with the module that it ended on: left and right walk to the same role in other layers."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f2,ctrl+l", "leave", "Back", show=False),
        Binding("left,h", "other(-1)", "The layer before", show=False),
        Binding("right,l", "other(1)", "The next layer", show=False),
        Binding("up,k", "scroll_body(-1)", "Up", show=False),
        Binding("down,j", "scroll_body(1)", "Down", show=False),
        *EXPERT_KEYS,
    ]

    def __init__(
        self, inspection: Inspection, opened: Opened, conversation: Conversation, module: ModuleLayout
    ) -> None:
        super().__init__(conversation)
        self._inspection = inspection
        self._opened = opened
        self.module = module
        self.reader = ValuesReader(self, inspection, self._draw)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield CellRows()
        yield InspectorStatus("Esc layers", "← → other layers", "↑ ↓ scroll", "F1 keys")

    def on_mount(self) -> None:
        self.draw()
        self.reader.want(self.module)

    def on_unmount(self) -> None:
        self.reader.close()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        width = max(8, self.size.width - 3)
        facts = facts_of(self.module, self._opened.layer_map.layout, self._opened.checkpoint)
        lines = [Content.styled(facts.title, STRONG), Content(""), *fact_lines(facts.labelled, width)]
        if self.module.experts:
            lines += [Content(""), expert_line(self.module, self._inspection.expert_of(self.module))]
        if self.reader.values is not None:
            from qwen_tui.layers.values_text import sections

            for section in sections(self.reader.values, width):
                lines += [Content(""), Content.styled(section.heading, STRONG), *section.lines]
        elif self.reader.error:
            lines += [Content(""), Content.styled(one_line(self.reader.error, 600), BAD)]
        elif self.reader.busy:
            lines += [Content(""), Content.styled("reading the values …", MUTED)]
        self.query_one(CellRows).show([line.truncate(width) for line in lines])

    def action_leave(self) -> None:
        self.dismiss(self.module)

    def action_scroll_body(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_expert(self, step: int) -> None:
        """The values of another expert of the stack."""
        if self.module.experts:
            self._inspection.pick(self.module, step)
            self.reader.want(self.module)
            self._draw()

    def action_other(self, step: int) -> None:
        """The nearest module of the same row on that side."""
        layer_map = self._opened.layer_map
        place = layer_map.places[self.module.canonical]
        column = place.column + step
        while 0 <= column < layer_map.columns:
            module = layer_map.module_at(Place(place.row, column))
            if module is not None:
                self.module = module
                self.reader.want(module)
                self._draw()
                return
            column += step
