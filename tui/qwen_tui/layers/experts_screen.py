"""Which experts an answer uses, on a whole screen: all layers at once, and the figures of the one under the cursor."""

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Rule

from qwen_core.checkpoint.config import MixtureConfig
from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.base_screen import LayersScreen
from qwen_tui.layers.expert_heat import ExpertHeat
from qwen_tui.layers.expert_use import figure_lines, use_headline
from qwen_tui.layers.facts import KINDS
from qwen_tui.layers.map import LayerMap
from qwen_tui.layers.map_text import STRONG, Lines
from qwen_tui.layers.status import InspectorStatus
from qwen_tui.widgets.header import Header
from qwen_tui.widgets.styled_rows import Rows


class ExpertsScreen(LayersScreen):
    """Closes with the router of the layer that it ended on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,e,enter,f2,ctrl+l", "leave", "Back", show=False),
    ]

    def __init__(
        self,
        layer_map: LayerMap,
        mixture: MixtureConfig,
        conversation: Conversation,
        layer: int,
        watch: Callable[[bool], None],
    ) -> None:
        """`watch` is told that somebody looks, whenever a token begins to be decoded."""
        super().__init__(conversation)
        self._layer_map = layer_map
        self._mixture = mixture
        self._watch = watch
        self._kinds = layer_map.layout.layer_kinds
        self._heat = ExpertHeat(mixture, len(self._kinds), layer)
        self._reading = False
        self._details = 0

    def compose(self) -> ComposeResult:
        yield Header("")
        yield Rows(id="headline")
        yield self._heat
        yield Rule(id="rule")
        yield Rows(id="details")
        yield InspectorStatus("Esc layers", "↑ ↓ other layers", "F1 keys")

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self._details = 0
        self._draw_figures()

    @property
    def _use(self) -> ExpertUse | None:
        """What the last answer used; None also where another model gave it."""
        turn = next(self._conversation.latest, None)
        use = turn.experts if turn is not None else None
        return use if use is not None and use.experts == self._mixture.experts else None

    def draw(self) -> None:
        super().draw()
        self.query_one(Header).show(self._conversation.model, self._conversation.phase)
        reading = self._conversation.phase in ("reasoning", "decoding")
        if reading and not self._reading:
            self._watch(True)  # an engine that was started meanwhile has not been told
        self._reading = reading
        self._heat.show(self._use)
        self._draw_figures()

    @on(ExpertHeat.Moved)
    def _draw_figures(self) -> None:
        width, layer, use = max(8, self.size.width - 2), self._heat.number, self._use
        self.query_one("#headline", Rows).show([use_headline(use, self._mixture, len(self._kinds), self.size.width)])
        head = Content.assemble((f"layer {layer}", STRONG), f"   {KINDS[self._kinds[layer]]}")
        lines: Lines = [head, *(figure_lines(use, layer, width, most=True) if use is not None else [])]
        # As many as ever: another number of rows would be another layout of the screen.
        self._details = max(self._details, len(lines))
        self.query_one("#details", Rows).show(
            [*(line.pad_left(1) for line in lines), *[Content("")] * (self._details - len(lines))]
        )

    def action_leave(self) -> None:
        self.dismiss(self._layer_map.layout.at(self._heat.number, "gate"))
