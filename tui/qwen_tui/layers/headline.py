"""The lines above the map: what the model is in five figures, and below it why, or what goes on right now."""

from textual.app import ComposeResult
from textual.containers import Vertical

from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.detail import reading_line
from qwen_tui.layers.filter import summary
from qwen_tui.layers.legend import headline
from qwen_tui.layers.map import LayerMap
from qwen_tui.layers.map_text import HERE, MUTED, STRONG, TEXT, Run, View
from qwen_tui.layers.painter import RunLines
from qwen_tui.text.formatting import fit

TALL = 24  # lines of a terminal that has room for both; else the second takes the place of the first while it matters


class LayerHeadline(Vertical):
    """One line or two."""

    DEFAULT_CSS = """
    LayerHeadline { height: auto; }
    """

    def compose(self) -> ComposeResult:
        yield RunLines(id="first")
        yield RunLines(id="second")

    @property
    def height(self) -> int:
        return 2 if self.app.size.height >= TALL else 1

    def clear(self) -> None:
        """Nothing is known of the model."""
        self.query_one("#first", RunLines).show([])
        self.query_one("#second", RunLines).show([])

    def show(self, layer_map: LayerMap, view: View, conversation: Conversation) -> None:
        width = max(1, self.app.size.width - 2)
        title = "Layers  " if width >= 70 else ""
        first = [Run(f" {title}", STRONG), Run(fit(headline(layer_map, width - len(title)), width - len(title)), TEXT)]
        second, matters = [layer_map.verdict.evidence], False
        if view.matches is not None:
            second, matters = [summary(layer_map.layout, view.matches)], True
        if view.reading:
            turn = conversation.current
            second = reading_line(layer_map, conversation.live_tok_s, turn.generated_tokens if turn else 0)
            matters = True
        below = [Run(f" {fit(second, width)}", HERE if matters else MUTED)]
        has_both = self.height == 2
        self.query_one("#first", RunLines).show([first if has_both or not matters else below])
        self.query_one("#second", RunLines).show([below])
        self.query_one("#second", RunLines).display = has_both
