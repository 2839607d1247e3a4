"""The lines above the map: what the model is in five figures, and below it why, or what goes on right now."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.facts import choice_text, headline, reading_line
from qwen_tui.layers.map import LayerMap
from qwen_tui.layers.map_text import HERE, MUTED, STRONG, View
from qwen_tui.text.formatting import counted, fit
from qwen_tui.text.safe import one_line
from qwen_tui.widgets.styled_rows import Rows

TALL = 24  # lines of a terminal that has room for both; else the second takes the place of the first while it matters


class LayerHeadline(Vertical):
    """One line or two."""

    DEFAULT_CSS = """
    LayerHeadline { height: auto; }
    """

    def compose(self) -> ComposeResult:
        yield Rows(id="first")
        yield Rows(id="second")

    @property
    def height(self) -> int:
        return 2 if self.app.size.height >= TALL else 1

    def clear(self) -> None:
        """Nothing is known of the model."""
        for rows in self.query(Rows):
            rows.show([Content("")])

    def show(self, layer_map: LayerMap, view: View, conversation: Conversation) -> None:
        width = max(1, self.app.size.width - 2)
        title = "Layers  " if width >= 70 else ""
        room = width - len(title)
        figures, warnings = headline(layer_map, room), layer_map.layout.warnings
        if warnings and self.height == 1:
            figures = [counted(len(warnings), "warning"), *figures]
        first = Content.assemble((f" {title}", STRONG), fit(figures, room))
        warnings = [one_line(f"warning: {warning}", width) for warning in warnings]
        second, matters = [*warnings, layer_map.verdict.evidence], False
        if view.matches is not None:
            index = layer_map.layout.index
            second = [choice_text(layer_map.layout, [index[name] for name in view.matches], width)]
            matters = True
        if view.reading:
            turn = conversation.current
            stats = turn.stats if turn is not None else None
            tokens = turn.generated_tokens if turn is not None and stats is not None else 0
            second = reading_line(layer_map, conversation.live_tok_s, tokens, stats, width)
            matters = True
        below = Content.styled(f" {fit(second, width)}", HERE if matters else MUTED)
        has_both = self.height == 2
        self.query_one("#first", Rows).show([first if has_both or not matters else below])
        self.query_one("#second", Rows).show([below])
        self.query_one("#second", Rows).display = has_both
