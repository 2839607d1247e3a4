"""One tensor on a whole screen: what the headers say of it, and its values as large as there is room for."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.base_screen import LayersScreen
from qwen_tui.layers.detail import Facts, Lines, facts_of, flowed
from qwen_tui.layers.inspection import Inspection, Opened
from qwen_tui.layers.map import Place
from qwen_tui.layers.map_text import BAD, MUTED, STRONG, TEXT, Run, clipped
from qwen_tui.layers.painter import RunLines
from qwen_tui.layers.status import InspectorStatus
from qwen_tui.layers.values_reader import ValuesReader
from qwen_tui.text.safe import one_line

LABEL = 11


def fact_lines(facts: Facts, width: int) -> Lines:
    """Every fact with its label; the values wrap under themselves."""
    rows = (
        ("format", (facts.format, facts.source)),
        ("shape", (facts.shape,)),
        ("size", (facts.stored, facts.bits)),
        ("cost", (facts.token,)),
        ("stored in", (facts.place, facts.alignment)),
        ("name", (facts.name, f"in {facts.file}")),
        ("does", (facts.about,)),
    )
    lines: Lines = [clipped([Run(facts.title, STRONG)], width), []]
    for label, pieces in rows:
        for number, line in enumerate(flowed([Run(text, TEXT) for text in pieces], max(8, width - LABEL))):
            lines.append([Run(f"{'' if number else label:<{LABEL}}", MUTED), *line])
    return lines


class TensorScreen(LayersScreen):
    """Closes with the module that it ended on: left and right walk to the same role in other layers."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f2,ctrl+l", "leave", "Back", show=False),
        Binding("left,h", "other(-1)", "The layer before", show=False),
        Binding("right,l", "other(1)", "The next layer", show=False),
        Binding("up,k", "scroll_body(-1)", "Up", show=False),
        Binding("down,j", "scroll_body(1)", "Down", show=False),
    ]

    def __init__(
        self, inspection: Inspection, opened: Opened, conversation: Conversation, module: ModuleLayout
    ) -> None:
        super().__init__(conversation)
        self._opened = opened
        self.module = module
        self.reader = ValuesReader(self, inspection, self._draw)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield RunLines(id="tensor", grows=True)
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
        lines = fact_lines(facts_of(self.module, self._opened.layer_map.layout, self._opened.checkpoint), width)
        if self.reader.values is not None:
            from qwen_tui.layers.values_text import sections

            for section in sections(self.reader.values, width):
                lines += [[], clipped([Run(section.heading, STRONG)], width), *section.lines]
        elif self.reader.error:
            lines += [[], flowed([Run(one_line(self.reader.error, 600), BAD)], width)[0]]
        elif self.reader.busy:
            lines += [[], [Run("reading the values …", MUTED)]]
        self.query_one("#tensor", RunLines).show(lines)

    def action_leave(self) -> None:
        self.dismiss(self.module)

    def action_scroll_body(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

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
